"""Campaigns: lifecycle, audiences, coupons, reservations, the ledger."""
