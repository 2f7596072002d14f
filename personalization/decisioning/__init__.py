"""Candidates → eligibility → ranking → policy → decision."""
