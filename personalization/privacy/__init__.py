"""Export and erasure; rooms register what they hold."""
