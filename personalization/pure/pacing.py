"""How much of a budget may be used by now, when it is spread over a campaign's days."""

from __future__ import annotations

from datetime import datetime, timedelta

DAY = timedelta(days=1)


def allowed_minor(budget_minor: int, starts_at: datetime, ends_at: datetime, now: datetime) -> int:
    """Return the part of the budget open at ``now``: one equal share a day, each open from its day's beginning.

    What one day leaves is there the next day. A campaign of less than a day has all of it at once.
    """
    days = max(1, -(-(ends_at - starts_at) // DAY))
    begun = min(max((now - starts_at) // DAY + 1, 0), days)
    return budget_minor * begun // days
