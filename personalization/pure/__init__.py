"""Arithmetic without Django, clock or chance: benefits, assignment, policy, statistics."""
