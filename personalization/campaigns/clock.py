"""Wall clocks: a campaign's dates are typed and read in its time zone, kept and compared as instants in UTC.

Where clocks are put forward an hour is missing: a time in it is refused. Where they are put back an hour comes
twice: a start means the first of the two, an end the second, so that a campaign is never shorter than it was typed.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext_noop

from personalization.exceptions import InvalidTerms
from personalization.models import Campaign
from personalization.pure.places import is_zone


def zone(name: str = "") -> ZoneInfo:
    """Return a time zone by its IANA name; the shop's own for an empty name. Raises InvalidTerms."""
    name = name or timezone.get_default_timezone_name()
    if not is_zone(name):
        raise InvalidTerms(gettext_noop("There is no time zone %(name)s."), params={"name": name[:63]})
    return ZoneInfo(name)


def zone_of(campaign: Campaign) -> ZoneInfo:
    """Return the time zone in which a campaign's dates are meant."""
    return zone(campaign.time_zone)


def wall(moment: datetime, place: ZoneInfo) -> datetime:
    """Return what the clock on the wall shows at a moment: no zone, ``fold`` 1 in the second of two equal hours."""
    return moment.astimezone(place).replace(tzinfo=None)


def exists(shown: datetime, place: ZoneInfo) -> bool:
    """Tell whether the clock ever shows this."""
    moment = shown.replace(tzinfo=place).astimezone(UTC)
    return moment.astimezone(place).replace(tzinfo=None) == shown.replace(tzinfo=None)


def instant(shown: datetime, place: ZoneInfo, *, second: bool = False) -> datetime:
    """Return the moment, in UTC, at which the clock shows this; of two, the first unless ``second``.

    Raises InvalidTerms for a time that is left out when clocks are put forward.
    """
    bare = shown.replace(tzinfo=None, fold=int(second))
    if not exists(bare, place):
        raise InvalidTerms(
            gettext_noop("%(time)s does not exist in %(zone)s: clocks are put forward then. Choose another time."),
            params={"time": date_format(bare, "DATETIME_FORMAT"), "zone": place.key},
            reason="no_such_time",
        )
    return bare.replace(tzinfo=place).astimezone(UTC)


def on_day_after(now: datetime, moment: datetime, place: ZoneInfo) -> datetime:
    """Return tomorrow's moment with the time of day of another one, by that place's clock; in a gap, behind it."""
    tomorrow = (wall(now, place) + timedelta(days=1)).date()
    shown = datetime.combine(tomorrow, wall(moment, place).time().replace(fold=0))
    return shown.replace(tzinfo=place).astimezone(UTC)  # in a gap the old offset leads as far behind it


def days_after(moment: datetime, days: int, place: ZoneInfo) -> datetime:
    """Return the moment so many days later at the same time of day there; in a gap, behind it."""
    later = wall(moment, place).replace(fold=0) + timedelta(days=days)
    return later.replace(tzinfo=place).astimezone(UTC)


def next_midnight(now: datetime, place: ZoneInfo) -> datetime:
    """Return when the next day begins there."""
    midnight = wall(now, place).replace(hour=0, minute=0, second=0, microsecond=0, fold=0) + timedelta(days=1)
    return midnight.replace(tzinfo=place).astimezone(UTC)
