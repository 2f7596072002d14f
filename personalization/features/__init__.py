"""Features: one declared specification, a reference reducer, and a fast form tested against it."""
