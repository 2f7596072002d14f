"""Personalised campaigns for Django shops.

Python callers import from :mod:`personalization.api`; this module stays empty because the app registry
is not ready when Django imports it.
"""
