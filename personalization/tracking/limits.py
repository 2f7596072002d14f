"""How often something may be tried, by one account, one session and one network address: counted in the database.

A try is counted before what is tried, by one statement that adds and returns in the same breath: of many tries at
once exactly as many pass as the limit says, whichever process serves them. Refused tries count too.

Call :func:`attempt` outside transactions: a try that is rolled back with its caller's failure was never counted.

The built-in figures leave room for people (a page that is reloaded, a code typed wrong five times, an office behind
one address) and none for machines: 600 tries an hour are five million a year, against 31**16 codes. Of events
each one counts, not each request: what they are limited for is the room that they take.
"""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from django.db import connections, router
from django.http import HttpRequest
from django.utils import timezone

from personalization import conf
from personalization.exceptions import TooManyTries
from personalization.models import RateCount, Shopper
from personalization.tracking import secrets

logger = logging.getLogger(__name__)
IDENTITIES = ("account", "session", "network")
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
BUILT_IN: dict[str, tuple[str, ...]] = {
    "code": ("account 60/h", "session 60/h", "network 600/h"),
    "gift_card": ("account 30/h", "session 30/h", "network 300/h"),
    "claim": ("account 60/h", "session 60/h", "network 1200/h"),
    "quote": ("account 60/m", "session 60/m", "network 1200/m"),
    "event": ("session 3000/m", "network 120000/m"),
}
"""Scope → limits. ``PERSONALIZATION["RATE_LIMITS"]`` replaces a scope's limits; an empty list lifts them."""
KEPT = timedelta(days=2)
"""Counts are deleted after this time: longer than the longest window."""
_INSIDE = [
    ipaddress.ip_network(each)
    for each in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")
]
_LIMIT = re.compile(rf"({'|'.join(IDENTITIES)}) ([1-9]\d{{0,8}})/([1-9]\d{{0,4}})?([smhd])")


@dataclass(frozen=True, slots=True)
class Limit:
    """At most ``most`` tries of one identity in each window of ``seconds``; windows begin at whole multiples."""

    identity: str
    most: int
    seconds: int


def parse(text: str) -> Limit:
    """Read ``"account 20/h"`` or ``"network 300/15m"``; raises ValueError with what is wrong."""
    found = _LIMIT.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a limit. Write it like 'account 20/h' or 'network 300/15m'.")
    seconds = int(found[3] or 1) * UNITS[found[4]]
    if seconds > UNITS["d"]:
        raise ValueError(f"{text!r}: a window is a day at most.")
    return Limit(found[1], int(found[2]), seconds)


def in_force(scope: str) -> list[Limit]:
    """Return a scope's limits: the shop's own, else the built-in ones. An undeclared scope raises KeyError."""
    own = conf.get().rate_limits
    return [parse(text) for text in (own[scope] if scope in own else BUILT_IN[scope])]


def attempt(
    scope: str,
    *,
    request: HttpRequest | None = None,
    shopper: Shopper | None = None,
    amount: int = 1,
    lasting: bool = True,
) -> None:
    """Count ``amount`` tries by everybody whom the request and the shopper stand for; raises TooManyTries over a limit.

    ``lasting=False`` does not wait for the disk (PostgreSQL): a crash of the database forgets the last second's count.
    """
    who = _identities(request, shopper)
    now = timezone.now()
    rows = [
        (_digest(limit, who[limit.identity]), _window(now, limit.seconds), limit)
        for limit in in_force(scope)
        if who.get(limit.identity)
    ]
    if not rows:
        return
    counts = _count(scope, sorted({(digest, window) for digest, window, _limit in rows}), amount, lasting)
    over = [limit.identity for digest, _window_, limit in rows if counts[digest] > limit.most]
    if over:
        raise TooManyTries(reason=over[0])


def add(scope: str, who: str, amount: int, *, seconds: int = UNITS["d"]) -> int:
    """Add to what ``who`` used up of a scope in the present window, and return how much that is now."""
    digest = secrets.digest(f"{seconds}:{who}", "rate")
    return _count(scope, [(digest, _window(timezone.now(), seconds))], amount)[digest]


def forget_old(now: datetime | None = None) -> int:
    """Delete the counts of windows that are long over; returns how many."""
    old = RateCount.objects.filter(window__lt=(now or timezone.now()) - KEPT)
    return old.delete()[0]


def address_of(request: HttpRequest) -> str:
    """Return the network a request comes from: an IPv4 address, or the /64 that an IPv6 visitor usually has whole.

    ``X-Forwarded-For`` counts only as far as ``TRUSTED_PROXIES`` of the shop's own proxies wrote it: what stands to
    the left of theirs is the visitor's own invention. Empty where the address can only be that of a proxy.
    """
    sender = request.META.get("REMOTE_ADDR", "")
    forwarded = [part.strip() for part in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",") if part.strip()]
    trusted = conf.get().trusted_proxies
    if trusted > 0:
        return _network(forwarded[-trusted]) if len(forwarded) >= trusted else ""
    address = _network(sender)
    if forwarded and _is_inside(sender):
        # A proxy's own address: with it, one visitor's tries would lock out everybody.
        _tell_of_proxy()
        return ""
    return address


@cache
def _tell_of_proxy() -> None:
    """Say so once in a process: it is true of every request."""
    logger.warning("TRUSTED_PROXIES is not set, but a proxy forwards requests: tries are not counted by address.")


def _network(address: str) -> str:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((int(found), 64), strict=False))
    return str(found)


def _is_inside(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return True
    return any(found in network for network in _INSIDE)


def _identities(request: HttpRequest | None, shopper: Shopper | None) -> dict[str, str]:
    """Return kind of identity → who it is; an unknown one is empty and not counted."""
    user = getattr(request, "user", None)
    if user is not None and user.is_authenticated:
        account = f"user:{user.pk}"
    elif shopper is not None:
        account = f"user:{shopper.user_id}" if shopper.user_id is not None else f"shopper:{shopper.key}"
    else:
        account = ""
    if request is None:
        return {"account": account}
    session = getattr(getattr(request, "session", None), "session_key", None) or ""
    return {
        "account": account,
        "session": session or request.COOKIES.get(conf.get().cookie_name, ""),
        "network": address_of(request),
    }


def _digest(limit: Limit, value: str) -> str:
    """Return who it is as a keyed hash, told apart by window length: an hour and a day may begin together."""
    return secrets.digest(f"{limit.identity}:{limit.seconds}:{value}", "rate")


def _window(now: datetime, seconds: int) -> datetime:
    return datetime.fromtimestamp(int(now.timestamp()) // seconds * seconds, tz=UTC)


def unsynced(connection: Any, *, more: bool = False) -> str:
    """Return the end of a statement that does not wait for the disk; ``more``: it returns something already.

    It holds until the end of the statement's transaction, and is used only where that is the statement itself: nobody
    else's transaction loses its durability.
    """
    if connection.vendor != "postgresql" or connection.in_atomic_block:
        return ""
    return f"{', ' if more else ' RETURNING '}set_config('synchronous_commit', 'off', true)"


def _count(scope: str, rows: Sequence[tuple[str, datetime]], amount: int = 1, lasting: bool = True) -> dict[str, int]:
    """Add to each row, made if need be, and return digest → count after it.

    One statement, its rows in the order of their hashes, so that two of them never wait for each other in a ring.
    """
    connection = connections[router.db_for_write(RateCount)]
    name, adapt = connection.ops.quote_name, connection.ops.adapt_datetimefield_value
    table, columns = name(RateCount._meta.db_table), [name(each) for each in ("scope", "digest", "window", "count")]
    count = columns[3]
    statement = (  # made of names alone; every value is a parameter
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join(['(%s, %s, %s, %s)'] * len(rows))} "  # noqa: S608
        f"ON CONFLICT ({', '.join(columns[:3])}) DO UPDATE SET {count} = {table}.{count} + excluded.{count} "
        f"RETURNING {columns[1]}, {count}"
    )
    values = [value for digest, window in rows for value in (scope, digest, adapt(window), amount)]
    if not lasting:
        statement += unsynced(connection, more=True)
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return {row[0]: row[1] for row in cursor.fetchall()}
