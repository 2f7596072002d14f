"""The list of campaigns: state, dates, money and uptake at a glance; what is done to several at once; the CSV file."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce
from django.forms.widgets import Media, Script
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from personalization.admin import lifecycle, moments
from personalization.admin.base import PersonalizationAdmin
from personalization.admin.csv import BATCH, CsvAdmin, stream
from personalization.admin.display import DASH, budget_bar, money, number, percent
from personalization.campaigns import lifecycle as states
from personalization.exceptions import PersonalizationError
from personalization.models import Campaign, Exposure, Forecast, Offer
from personalization.ports.messages import explain
from personalization.pure.money import from_minor
from personalization.pure.pacing import allowed_minor
from personalization.types import Arm

Status = Campaign.Status
BREAK = mark_safe("<br>")


def exposed(campaigns: Any) -> dict[int, tuple[int, int, int]]:
    """Return how many shoppers each of these campaigns has reached, how many of them redeemed, and what those were
    given outside of our ledger, in minor units: imported and simulated exposures know their cost (one query)."""
    rows = Exposure.objects.filter(campaign__in=campaigns, arm=Arm.TREATMENT.value).order_by().values("campaign")
    counted = rows.annotate(
        reached=Count("shopper", distinct=True),
        redeemed=Count("shopper", distinct=True, filter=Q(redeemed_at__isnull=False)),
        given=Sum("cost_minor", filter=~Q(source=""), default=0),
    )
    return {row["campaign"]: (row["reached"], row["redeemed"], row["given"]) for row in counted}


class CampaignChangeList(ChangeList):
    """Counts the shoppers reached for the rows of the page only."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        reached = exposed([campaign.pk for campaign in self.result_list])
        for campaign in self.result_list:
            campaign.exposed, campaign.responded, campaign.given_elsewhere = reached.get(campaign.pk, (0, 0, 0))


def bar(campaign: Campaign) -> Any:
    """Return the bar of a campaign's budget, with what it may use by today if it is paced."""
    open_now = None
    if campaign.budget_minor and campaign.pacing == Campaign.Pacing.EVEN:
        open_now = allowed_minor(campaign.budget_minor, campaign.starts_at, campaign.ends_at, timezone.now())
    return budget_bar(
        spent=campaign.spent_minor,
        reserved=campaign.reserved_minor,
        liability=campaign.liability_minor,
        budget=campaign.budget_minor,
        currency=campaign.currency,
        open_now=open_now,
    )


CAMPAIGN_ASSETS = Media(
    css={"all": ["personalization/admin-campaign.css"]},
    js=[Script("personalization/admin-campaign.js", defer=True)],  # type: ignore[list-item]
)


class CampaignList(CsvAdmin, PersonalizationAdmin):
    """The list's half of the campaign's admin."""

    list_display = ("name", "state", "dates", "budget", "uptake", "forecast")
    list_filter = ("status", "delivery", "starts_at", "currency", "population")
    search_fields = ("name", "goal", "offers__name")
    ordering = ("-starts_at", "-pk")
    list_per_page = 50
    date_hierarchy = "starts_at"
    actions = ("pause_selected", "end_selected", "archive_selected", "export_selected")
    change_list_template = "admin/personalization/campaign/change_list.html"

    @property
    def media(self) -> Media:
        return super().media + CAMPAIGN_ASSETS

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return CampaignChangeList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Campaign]:
        offers = Offer.objects.filter(campaign=OuterRef("pk")).order_by().values("campaign")
        forecast = Forecast.objects.filter(campaign=OuterRef("pk"))
        return (
            super()
            .get_queryset(request)
            .annotate(
                issued=Coalesce(Subquery(offers.annotate(n=Sum("issued_count")).values("n")), 0),
                redeemed=Coalesce(Subquery(offers.annotate(n=Sum("redeemed_count")).values("n")), 0),
                is_simulated=Exists(Offer.objects.filter(campaign=OuterRef("pk"), attributes__simulated=True)),
                has_forecast=Exists(forecast),
                has_frozen_forecast=Exists(forecast.filter(frozen_at__isnull=False)),
            )
        )

    @admin.display(description=_("state"), ordering="status")
    def state(self, campaign: Campaign) -> Any:
        place = _("on page") if campaign.delivery == Campaign.Delivery.ON_PAGE else _("sent")
        return format_html('{}<span class="pz-hint">{}</span>', moments.state_badge(campaign), place)

    @admin.display(description=_("dates"), ordering="starts_at")
    def dates(self, campaign: Campaign) -> Any:
        return format_html('<span class="pz-figure pz-figure--wraps">{} –<br>{}</span>', *moments.span(campaign))

    @admin.display(description=_("budget used"), ordering="spent_minor")
    def budget(self, campaign: Any) -> Any:
        if not _is_outside_the_ledger(campaign):
            return bar(campaign)
        if not campaign.given_elsewhere:
            return gettext("not recorded in the ledger")
        told = gettext("simulated, outside the ledger") if campaign.is_simulated else gettext("outside the ledger")
        given = gettext("%(amount)s given") % {"amount": money(campaign.given_elsewhere, campaign.currency)}
        return format_html(
            '<span class="pz-figure">{}</span><span class="pz-hint pz-hint--wraps">{}</span>', given, told
        )

    @admin.display(description=_("uptake"), ordering="issued")
    def uptake(self, campaign: Any) -> Any:
        reached, responded = getattr(campaign, "exposed", 0), getattr(campaign, "responded", 0)
        lines = [gettext("%(count)s reached") % {"count": number(reached)}]
        figures = [
            (gettext("%(count)s issued"), campaign.issued, reached),
            (gettext("%(count)s redeemed"), campaign.redeemed, campaign.issued),
        ]
        if not campaign.issued and responded:  # its coupons were issued elsewhere: only what became of them is known
            figures = [(gettext("%(count)s redeemed"), responded, reached)]
        for text, count, whole in figures:
            share = f" ({percent(count / whole, 0)})" if 0 < count <= whole else ""
            lines.append(text % {"count": number(count)} + share)
        return format_html(
            '<span class="pz-figure">{}</span>', format_html_join(BREAK, "{}", ((line,) for line in lines))
        )

    @admin.display(description=_("forecast"), ordering="has_forecast")
    def forecast(self, campaign: Any) -> Any:
        if campaign.has_frozen_forecast:
            return _("frozen")
        return _("ready") if campaign.has_forecast else DASH

    # -- several at once

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Return what this user may do to several campaigns; deleting is for one draft at a time."""
        actions = super().get_actions(request)
        actions.pop("delete_selected", None)
        for name, to in _MOVES.items():
            if not lifecycle.may_move(request, to):
                actions.pop(name, None)
        return actions

    @admin.action(description=_("Pause the chosen campaigns"))
    def pause_selected(self, request: HttpRequest, queryset: QuerySet[Campaign]) -> HttpResponse | None:
        return self._move(request, queryset, Status.PAUSED, gettext("Pause"))

    @admin.action(description=_("End the chosen campaigns"))
    def end_selected(self, request: HttpRequest, queryset: QuerySet[Campaign]) -> HttpResponse | None:
        return self._move(request, queryset, Status.ENDED, gettext("End"))

    @admin.action(description=_("Archive the chosen campaigns"))
    def archive_selected(self, request: HttpRequest, queryset: QuerySet[Campaign]) -> HttpResponse | None:
        return self._move(request, queryset, Status.ARCHIVED, gettext("Archive"))

    @admin.action(description=_("Export the chosen campaigns as CSV"), permissions=["view"])
    def export_selected(self, request: HttpRequest, queryset: QuerySet[Campaign]) -> StreamingHttpResponse:
        return self.export(request, queryset)

    def _move(self, request: HttpRequest, queryset: QuerySet[Campaign], to: str, label: str) -> HttpResponse | None:
        """Ask first; then move every campaign that can be moved, each by itself."""
        if not lifecycle.may_move(request, to):
            raise PermissionDenied
        chosen = list(queryset.order_by("pk"))
        able = [campaign for campaign in chosen if to in states.allowed(campaign)]
        if request.POST.get("confirmed") != "yes":
            return self._ask(request, chosen, able, to, label)
        moved = 0
        for campaign in able:
            try:
                states.transition(campaign, to, request.user)
            except PersonalizationError as error:
                self.message_user(request, f"“{campaign.name}”: {explain(error)}", messages.ERROR)
                continue
            self.log_change(request, campaign, label)
            moved += 1
        done = ngettext("%(count)s campaign is now %(state)s.", "%(count)s campaigns are now %(state)s.", moved)
        self.message_user(request, done % {"count": number(moved), "state": dict(Status.choices)[to]}, messages.SUCCESS)
        return None

    def _ask(
        self, request: HttpRequest, chosen: list[Campaign], able: list[Campaign], to: str, label: str
    ) -> HttpResponse:
        context: dict[str, Any] = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": label,
            "label": label,
            "able": [(campaign, moments.state_words(campaign)) for campaign in able],
            "unable": [(campaign, moments.state_words(campaign)) for campaign in chosen if campaign not in able],
            "warns": to == Status.ENDED,
            "action": request.POST.get("action", ""),
            "checkbox": ACTION_CHECKBOX_NAME,
            "media": self.media,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/personalization/campaign/confirm_several.html", context)

    # -- the file

    def export(self, request: HttpRequest, rows: Any, *, in_clear: bool = False) -> StreamingHttpResponse:
        """Return the campaigns with money in major units; who was reached is counted once for all."""
        reached = exposed(rows.order_by().values("pk"))

        def counted() -> Iterator[Any]:
            for campaign in rows.iterator(chunk_size=BATCH):
                campaign.exposed, campaign.responded, _given = reached.get(campaign.pk, (0, 0, 0))
                yield campaign

        return stream("campaigns", CSV_COLUMNS, counted())


def _is_outside_the_ledger(campaign: Any) -> bool:
    """Return whether shoppers responded to a campaign of which our ledger knows nothing: imported, or simulated."""
    money_moved = campaign.spent_minor or campaign.reserved_minor or campaign.liability_minor
    return bool(getattr(campaign, "responded", 0)) and not campaign.issued and not money_moved


def _major(minor: int | None, campaign: Campaign) -> Decimal | None:
    return None if minor is None else from_minor(minor, campaign.currency)


_MOVES = {
    "pause_selected": Status.PAUSED.value,
    "end_selected": Status.ENDED.value,
    "archive_selected": Status.ARCHIVED.value,
}
CSV_COLUMNS = [
    ("id", lambda row: row.pk),
    ("name", lambda row: row.name),
    ("goal", lambda row: row.goal),
    ("status", lambda row: row.status),
    ("delivery", lambda row: row.delivery),
    ("starts_at", lambda row: row.starts_at),
    ("ends_at", lambda row: row.ends_at),
    ("currency", lambda row: row.currency),
    ("budget", lambda row: _major(row.budget_minor, row)),
    ("spent", lambda row: _major(row.spent_minor, row)),
    ("reserved", lambda row: _major(row.reserved_minor, row)),
    ("liability", lambda row: _major(row.liability_minor, row)),
    ("reached", lambda row: row.exposed),
    ("issued", lambda row: row.issued),
    ("redeemed", lambda row: row.redeemed if row.issued else row.responded),
]
