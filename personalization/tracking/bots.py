"""Bots are flagged, never deleted: what they do is stored and kept out of features and training."""

from __future__ import annotations

import re
from functools import lru_cache

from crawleruseragents import is_crawler
from django.http import HttpRequest

_AHEAD = ("Sec-Purpose", "Purpose", "X-Purpose", "X-Moz")
"""Headers in which a browser says that it loads a page before anybody asked for it."""
_MAIL_SCANNERS = re.compile(
    r"barracuda|proofpoint|mimecast|safelinks|ironport|symantec|messagelabs|trend ?micro|sophos|fireeye|trellix|"
    r"forcepoint|fortinet|fortiguard|bitdefender|microsoft office|ms-office",
    re.IGNORECASE,
)


_HEADLESS = re.compile(r"headless|phantomjs|puppeteer|playwright|selenium|webdriver", re.IGNORECASE)
"""What browsers without a person in front of them call themselves."""


@lru_cache(maxsize=4096)
def is_bot(user_agent: str) -> bool:
    """Return whether this user agent is a known crawler or a headless browser; an empty one counts as a bot."""
    return not user_agent.strip() or bool(_HEADLESS.search(user_agent)) or bool(is_crawler(user_agent))


def looks_ahead(request: HttpRequest) -> bool:
    """Return whether a link is followed by a program on its own: a crawler, a scanner of mail, a browser's prefetch."""
    said = " ".join(request.headers.get(name, "") for name in _AHEAD).lower()
    if any(word in said for word in ("prefetch", "prerender", "preview")):
        return True
    user_agent = request.headers.get("User-Agent", "")
    return is_bot(user_agent) or bool(_MAIL_SCANNERS.search(user_agent))
