"""The sequence encoder: one network with six cells, and the rankers made of it."""
