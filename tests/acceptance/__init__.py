"""A browser in front of a running shop."""
