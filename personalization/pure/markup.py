"""Marked-up text that people write: only harmless tags survive. Applied when it is stored and when it is shown."""

from __future__ import annotations

import nh3

TAGS = frozenset({"a", "b", "br", "em", "h3", "h4", "i", "li", "ol", "p", "small", "strong", "u", "ul"})
SCHEMES = frozenset({"http", "https"})
MAX_LENGTH = 20_000


def clean(text: str) -> str:
    """Return the text without scripts, styles, foreign media and whatever else is not on the list.

    Links keep their address only if it is a page; relative addresses stay. What is clean comes back unchanged.
    """
    return nh3.clean(
        text[:MAX_LENGTH],
        tags=set(TAGS),
        attributes={"a": {"href", "title"}},
        url_schemes=set(SCHEMES),
        link_rel="nofollow noopener",
    )
