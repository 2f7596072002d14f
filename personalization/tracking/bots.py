"""Bots are flagged, never deleted: what they do is stored and kept out of features and training."""

from __future__ import annotations

from functools import lru_cache

from crawleruseragents import is_crawler


@lru_cache(maxsize=4096)
def is_bot(user_agent: str) -> bool:
    """Return whether this user agent is a known crawler; an empty one counts as a bot."""
    return not user_agent.strip() or bool(is_crawler(user_agent))
