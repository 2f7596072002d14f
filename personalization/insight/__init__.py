"""Feedback, forecasts and the board."""
