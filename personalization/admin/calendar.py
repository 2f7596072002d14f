"""A month of campaigns: one row a campaign, one column a day; on a narrow screen the same as a list."""

from __future__ import annotations

import calendar as months
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from personalization.admin import moments
from personalization.admin.display import change_url
from personalization.models import Campaign

if TYPE_CHECKING:
    from personalization.admin.campaigns import CampaignAdmin

MOST = 200
FIRST_YEAR, LAST_YEAR = 2000, 2999


@dataclass(frozen=True)
class Day:
    """One column's head."""

    number: int
    name: str
    weekend: bool
    today: bool


@dataclass(frozen=True)
class Row:
    """One campaign's line: so many free days, so many of the campaign's, and the rest."""

    name: str
    url: str
    before: int
    days: int
    after: int
    words: str
    state: SafeString
    tone: str
    from_earlier: bool
    goes_on: bool


def month_of(given: str, today: date) -> date:
    """Return the first day of the month that an address names as ``2026-11``; anything else is this month."""
    try:
        first = datetime.strptime(given, "%Y-%m").date()  # noqa: DTZ007 - a month, not a moment
    except ValueError:
        return today.replace(day=1)
    return first if FIRST_YEAR <= first.year <= LAST_YEAR else today.replace(day=1)


def rows_of(campaigns: QuerySet[Campaign], first: date) -> list[Row]:
    """Return the lines of a month (one query), in the order in which the campaigns start."""
    length = months.monthrange(first.year, first.month)[1]
    last = first.replace(day=length)
    begins, ends = _midnight(first), _midnight(last + timedelta(days=1))
    found = campaigns.filter(starts_at__lt=ends, ends_at__gt=begins).exclude(status=Campaign.Status.ARCHIVED)
    return [_row(campaign, first, last) for campaign in found.order_by("starts_at", "pk")[:MOST]]


def _row(campaign: Campaign, first: date, last: date) -> Row:
    starts = timezone.localtime(campaign.starts_at).date()
    # A campaign that ends at midnight does not take the day that begins then.
    ends = timezone.localtime(campaign.ends_at - timedelta(microseconds=1)).date()
    shown_from, shown_to = max(starts, first), min(ends, last)
    return Row(
        name=campaign.name,
        url=change_url(Campaign, campaign.pk),
        before=(shown_from - first).days,
        days=(shown_to - shown_from).days + 1,
        after=(last - shown_to).days,
        words=_("%(first)s to %(last)s") % dict(zip(("first", "last"), moments.span(campaign), strict=True)),
        state=moments.state_badge(campaign),
        tone=moments.tone(campaign),
        from_earlier=starts < first,
        goes_on=ends > last,
    )


def _midnight(of: date) -> datetime:
    return timezone.make_aware(datetime.combine(of, time.min))


def days_of(first: date, today: date) -> list[Day]:
    """Return the heads of a month's columns."""
    length = months.monthrange(first.year, first.month)[1]
    every = (first + timedelta(days=offset) for offset in range(length))
    return [Day(at.day, str(date_format(at, "D")), at.weekday() >= 5, at == today) for at in every]


def calendar_view(model_admin: CampaignAdmin, request: HttpRequest) -> HttpResponse:
    """Show the month that ``?month=2026-11`` names."""
    if request.method != "GET":
        return HttpResponseNotAllowed(["GET"])
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    today = timezone.localdate()
    first = month_of(request.GET.get("month", ""), today)
    name = str(date_format(first, "YEAR_MONTH_FORMAT"))
    rows = rows_of(Campaign.objects.all(), first)
    context: dict[str, Any] = {
        **model_admin.admin_site.each_context(request),
        "opts": model_admin.opts,
        "title": _("Campaigns in %(month)s") % {"month": name},
        "month": name,
        "days": days_of(first, today),
        "rows": rows,
        "full": len(rows) == MOST,
        "most": MOST,
        "earlier": (first - timedelta(days=1)).strftime("%Y-%m"),
        "later": (first + timedelta(days=31)).replace(day=1).strftime("%Y-%m"),
        "this_month": first == today.replace(day=1),
        "may_add": model_admin.has_add_permission(request),
        "media": model_admin.media,
    }
    request.current_app = model_admin.admin_site.name
    return TemplateResponse(request, "admin/personalization/campaign/calendar.html", context)
