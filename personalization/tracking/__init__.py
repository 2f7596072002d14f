"""Events in: schema, consent, identity, ingestion, receivers and middleware. First room of the flow."""
