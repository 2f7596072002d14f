"""Shops that are not ours, into which the app is installed."""
