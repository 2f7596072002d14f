"""The offers of a campaign, edited on the campaign's page.

Terms can be edited until the campaign is scheduled. From then on coupons may be issued under them, so they are shown,
with the reason; texts, slots and limits stay open while it runs.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import models
from django.forms import Field
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.translation import gettext_lazy as _

from personalization import conf
from personalization.admin.display import DASH, money, number
from personalization.admin.forms import OfferForm, OfferFormSet, friendly_formfield
from personalization.models import Campaign, Offer

OPEN = {Campaign.Status.DRAFT, Campaign.Status.REVIEW}
CLOSED = {Campaign.Status.ENDED, Campaign.Status.ARCHIVED}
TERMS = {
    "kind": "kind",
    "percent": "percent_text",
    "amount_minor": "amount_text",
    "threshold_minor": "threshold_text",
    "max_discount_minor": "max_discount_text",
    "category": "category",
    "tiers": "tiers_text",
    "starts_at": "starts_at",
    "ends_at": "ends_at",
    "valid_hours": "valid_hours",
    "per_shopper": "per_shopper",
}
"""Column → what stands in its place once it is read-only."""
SHOWN = {**TERMS, "slots": "slots_text"}


def terms_are_fixed(campaign: Campaign | None) -> bool:
    """Return whether coupons may exist under the terms."""
    return campaign is not None and campaign.status not in OPEN


class OfferInline(admin.StackedInline):
    model = Offer
    form = OfferForm
    formset = OfferFormSet
    classes = ("pz-offers",)

    def get_extra(self, request: HttpRequest, obj: Campaign | None = None, **kwargs: Any) -> int:
        return 0 if obj is not None and obj.offers.exists() else 1

    def has_add_permission(self, request: HttpRequest, obj: Campaign | None = None) -> bool:
        return not terms_are_fixed(obj) and super().has_add_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Campaign | None = None) -> bool:
        return not terms_are_fixed(obj) and super().has_delete_permission(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: Campaign | None = None) -> bool:
        closed = obj is not None and obj.status in CLOSED
        return not closed and super().has_change_permission(request, obj)

    def _replaced(self, request: HttpRequest, obj: Campaign | None) -> dict[str, str]:
        """Return the columns that are shown instead of edited, with what is shown."""
        may_edit = self.has_change_permission(request, obj) and request.user.has_perm(
            f"{self.opts.app_label}.change_campaign"
        )
        if obj is not None and not may_edit:
            return SHOWN
        return TERMS if terms_are_fixed(obj) else {}

    def get_readonly_fields(self, request: HttpRequest, obj: Campaign | None = None) -> list[str]:
        return [*self._replaced(request, obj).values(), "uptake"]

    def get_fieldsets(self, request: HttpRequest, obj: Campaign | None = None) -> Any:
        replaced = self._replaced(request, obj)

        def row(*names: str) -> tuple[str, ...]:
            return tuple(replaced.get(name, name) for name in names)

        benefit = [
            row("percent", "amount_minor"),
            row("threshold_minor", "max_discount_minor"),
            *row("category"),
        ]
        limits = [row("max_issued", "max_redemptions", "per_shopper")]
        if obj is not None:
            limits.append(("uptake",))
        return [
            (None, {"fields": [row("name", "kind")], "description": self._reason(obj)}),
            (_("Benefit"), {"fields": benefit}),
            (_("Place and members"), {"fields": [*row("slots", "tiers")]}),
            (_("Words shoppers read"), {"fields": ["headline", "body", ("cta_label", "cta_url")]}),
            (
                _("Window"),
                {"fields": [row("starts_at", "ends_at"), *row("valid_hours")], "classes": ["collapse"]},
            ),
            (_("Limits"), {"fields": limits, "classes": ["collapse"]}),
        ]

    def _reason(self, campaign: Campaign | None) -> Any:
        if campaign is None or campaign.status in OPEN:
            return ""
        if campaign.status == Campaign.Status.SCHEDULED:
            return _("The terms are fixed because the campaign is scheduled. Send it back to draft to change them.")
        if campaign.status in CLOSED:
            return _("The campaign is over: its offers are kept as they were.")
        return _(
            "The terms are fixed because the campaign has started: coupons are issued under them. "
            "To change them, end this campaign and start another."
        )

    def formfield_for_dbfield(self, db_field: models.Field, request: Any, **kwargs: Any) -> Field | None:
        return friendly_formfield(db_field.name) or super().formfield_for_dbfield(db_field, request, **kwargs)

    @admin.display(description=_("percent off"))
    def percent_text(self, offer: Offer) -> str:
        return f"{number(float(offer.percent), 2)} %" if offer.percent else DASH

    @admin.display(description=_("Amount off"))
    def amount_text(self, offer: Offer) -> str:
        return money(offer.amount_minor or None, offer.campaign.currency)

    @admin.display(description=_("Minimum spend"))
    def threshold_text(self, offer: Offer) -> str:
        return money(offer.threshold_minor or None, offer.campaign.currency)

    @admin.display(description=_("Largest discount"))
    def max_discount_text(self, offer: Offer) -> str:
        return money(offer.max_discount_minor, offer.campaign.currency)

    @admin.display(description=_("Loyalty tiers"))
    def tiers_text(self, offer: Offer) -> str:
        return _words(offer.tiers)

    @admin.display(description=_("Slots"))
    def slots_text(self, offer: Offer) -> str:
        names = conf.get().slots
        return _words([names.get(str(slot), str(slot)) for slot in offer.slots] if offer.slots else [])

    @admin.display(description=_("Uptake"))
    def uptake(self, offer: Offer) -> Any:
        if offer.pk is None:
            return DASH
        figures = [
            (_("issued"), number(offer.issued_count)),
            (_("reserved"), number(offer.reserved_count)),
            (_("redeemed"), number(offer.redeemed_count)),
        ]
        return format_html_join(
            " · ", '<span class="pz-figure">{} {}</span>', ((count, word) for word, count in figures)
        )


def _words(value: Any) -> str:
    if not value:
        return DASH
    return ", ".join(str(word) for word in value) if isinstance(value, list) else str(value)
