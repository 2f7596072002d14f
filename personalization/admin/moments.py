"""A campaign's dates and its state in words that cannot be misread, the same on every page.

Moments are told with their time of day on the campaign's own clock, as they were typed: an end at midnight neither
reads as the day before nor as the whole day after. A campaign that is launched and has not begun says from when.
"""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from personalization.admin.display import TONES, badge, day
from personalization.models import Campaign
from personalization.pure.places import is_zone

Status = Campaign.Status


def moment(at: datetime, zone: str = "", *, with_year: bool = False) -> str:
    """Return a moment as day and time on the clock of a time zone, which is named where it is not the page's own."""
    place = ZoneInfo(zone) if is_zone(zone) else timezone.get_current_timezone()
    told = _("%(day)s, %(time)s") % {
        "day": day(at, place, with_year=with_year),
        "time": date_format(timezone.localtime(at, place), "H:i"),
    }
    return told if str(place) == timezone.get_current_timezone_name() else f"{told} ({place})"


def span(campaign: Campaign) -> tuple[str, str]:
    """Return when a campaign begins and ends, to stand side by side: both with their year where one needs it."""
    place = ZoneInfo(campaign.time_zone) if is_zone(campaign.time_zone) else timezone.get_current_timezone()
    years = {timezone.localtime(at, place).year for at in (campaign.starts_at, campaign.ends_at)}
    with_year = years != {timezone.localtime().year}
    first, last = (moment(at, campaign.time_zone, with_year=with_year) for at in (campaign.starts_at, campaign.ends_at))
    return first, last


def starts(campaign: Campaign) -> str:
    """Return when a campaign begins."""
    return moment(campaign.starts_at, campaign.time_zone)


def is_waiting(campaign: Campaign) -> bool:
    """Return whether the campaign is launched and its start has not come: nothing of it is shown yet."""
    return campaign.status == Status.RUNNING and campaign.starts_at > timezone.now()


def state_words(campaign: Campaign) -> str:
    """Return the state, with the start of a campaign that is launched and has not begun."""
    state = str(campaign.get_status_display())
    if not is_waiting(campaign):
        return state
    return _("%(state)s, from %(start)s") % {"state": state, "start": starts(campaign)}


def tone(campaign: Campaign) -> str:
    """Return the colour of the state: whoever waits for a start looks like a scheduled one."""
    return TONES.get(Status.SCHEDULED if is_waiting(campaign) else campaign.status, "quiet")


def state_badge(campaign: Campaign) -> SafeString:
    """Return the state as a small label."""
    return badge(state_words(campaign), Status.SCHEDULED if is_waiting(campaign) else campaign.status)
