"""What the host provides (adapters) and what it tells and hears (signals)."""
