"""Races and crashes on real databases, each with a negative control."""
