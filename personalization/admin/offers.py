"""The offers of a campaign, edited on the campaign's page.

Terms can be edited until the campaign is scheduled. From then on coupons may be issued under them, so they are shown,
with the reason; texts, slots and limits stay open while it runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.contrib import admin
from django.contrib.admin import helpers
from django.db import models
from django.forms import Field
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from personalization import conf
from personalization.admin.display import DASH, money, number, words_of
from personalization.admin.fields import MomentField
from personalization.admin.forms import OfferForm, OfferFormSet, friendly_formfield
from personalization.campaigns import catalog, revisions
from personalization.models import Campaign, Offer
from personalization.models.offer_rules import read_steps
from personalization.types import OfferKind, Step

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
    "uses_per_shopper": "uses_per_shopper",
    "steps": "steps_text",
    "buy_quantity": "buy_quantity",
    "pay_quantity": "pay_quantity",
    "gift_item_id": "gift_text",
    "gift_value_minor": "gift_value_text",
    "points": "points",
    "delay_days": "delay_days",
    "item_ids": "item_ids_text",
    "member_points": "member_points",
    "application": "application",
    "exclusion_group": "exclusion_group",
    "exclusive": "exclusive",
    "below_cost": "below_cost",
}
"""Column → what stands in its place once it is read-only."""
SHOWN = {**TERMS, "slots": "slots_text"}
WORDS_AND_LIMITS = ("name", "headline", "body", "body_html", "cta_label", "cta_url", "max_issued", "max_redemptions")
_MONEY_OFF = ["percent", "amount_minor", "threshold_minor", "max_discount_minor"]
_PRESENT = [*_MONEY_OFF, "gift_item_id", "gift_value_minor"]
KIND_FIELDS: dict[str, list[str]] = {
    OfferKind.COUPON.value: _MONEY_OFF,
    OfferKind.SPEND_THRESHOLD.value: [*_MONEY_OFF, "steps"],
    OfferKind.FLASH_SALE.value: _MONEY_OFF,
    OfferKind.MEMBER_EXCLUSIVE.value: _MONEY_OFF,
    OfferKind.FREE_SHIPPING.value: ["threshold_minor"],
    OfferKind.GIFT.value: ["threshold_minor", "gift_item_id", "gift_value_minor"],
    OfferKind.GIFT_CARD.value: ["amount_minor", "threshold_minor", "delay_days"],
    OfferKind.CASH_BACK.value: [*_MONEY_OFF, "delay_days"],
    OfferKind.POINTS.value: ["threshold_minor", "points", "delay_days"],
    OfferKind.BUNDLE.value: ["percent", "amount_minor", "max_discount_minor"],
    OfferKind.N_FOR_M.value: ["buy_quantity", "pay_quantity"],
    OfferKind.BIRTHDAY.value: _PRESENT,
    OfferKind.WELCOME.value: _PRESENT,
    OfferKind.ANNOUNCEMENT.value: [],
}
"""Kind → the fields that make its benefit. A script hides the others while they are empty."""


class OfferLines(helpers.InlineAdminFormSet):
    """A campaign's offers, as the page goes through them: one whose kind is fixed has the fields of that kind alone."""

    @classmethod
    def of(cls, made: helpers.InlineAdminFormSet) -> OfferLines:
        """Return what the admin has made of the offers as such lines."""
        return cls(
            made.opts,
            made.formset,
            made.fieldsets,
            made.prepopulated_fields,
            made.readonly_fields,
            made.model_admin,
            made.has_add_permission,
            made.has_change_permission,
            made.has_delete_permission,
            made.has_view_permission,
        )

    def __iter__(self) -> Iterator[Any]:
        for line in super().__iter__():
            if "kind" in self.readonly_fields and line.original:
                foreign = foreign_fields(line.form.instance).intersection(self.readonly_fields)
                line.fieldsets = without(line.fieldsets, foreign)
            yield line


def foreign_fields(offer: Offer) -> set[str]:
    """Return what stands for the fields of other kinds than this offer's, as long as they are as they came."""
    blank, own = Offer(), KIND_FIELDS.get(offer.kind, [])
    every = {name for names in KIND_FIELDS.values() for name in names}
    return {TERMS[name] for name in every.difference(own) if getattr(offer, name) == getattr(blank, name)}


def without(fieldsets: Iterable[tuple[Any, dict[str, Any]]], foreign: set[str]) -> list[tuple[Any, dict[str, Any]]]:
    """Return a form's parts without these fields; a part that has no other is left out."""
    found = []
    for title, options in fieldsets:
        rows = [(row,) if isinstance(row, str) else row for row in options["fields"]]
        kept = [left for row in rows if (left := tuple(name for name in row if name not in foreign))]
        if kept:
            found.append((title, options if kept == rows else {**options, "fields": kept}))
    return found


def terms_are_fixed(campaign: Campaign | None) -> bool:
    """Return whether coupons may exist under the terms."""
    return campaign is not None and campaign.status not in OPEN


class OfferInline(admin.StackedInline):
    model = Offer
    form = OfferForm
    formset = OfferFormSet
    formfield_overrides = {
        models.DateTimeField: {"form_class": MomentField, "help_text": _("Without a time: at midnight.")}
    }
    template = "admin/personalization/campaign/lines.html"
    classes = ("pz-offers",)
    opens_alone = True
    """A campaign's only offer is open."""
    kind_fields = json.dumps(KIND_FIELDS)

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
        if obj is None:
            return {}
        editable = revisions.editable_fields(obj).offers
        return {name: SHOWN.get(name, name) for name in (*SHOWN, *WORDS_AND_LIMITS) if name not in editable}

    def get_readonly_fields(self, request: HttpRequest, obj: Campaign | None = None) -> list[str]:
        return [*self._replaced(request, obj).values(), "uptake"]

    def get_fieldsets(self, request: HttpRequest, obj: Campaign | None = None) -> Any:
        replaced = self._replaced(request, obj)

        def row(*names: str) -> tuple[str, ...]:
            return tuple(replaced.get(name, name) for name in names)

        limits = [row("max_issued", "max_redemptions"), row("per_shopper", "uses_per_shopper")]
        if obj is not None:
            limits.append(("uptake",))
        return [
            (None, {"fields": [row("name", "kind"), *row("application")], "description": self._reason(obj)}),
            *self._benefits(row),
            (_("What it counts for"), {"fields": [*row("category", "item_ids")]}),
            (_("Place and members"), {"fields": [*row("slots"), row("tiers", "member_points")]}),
            (
                _("Words shoppers read"),
                {"fields": [*row("headline", "body", "body_html"), row("cta_label", "cta_url")]},
            ),
            (
                _("Window"),
                {"fields": [row("starts_at", "ends_at"), *row("valid_hours")], "classes": ["collapse"]},
            ),
            (_("Limits"), {"fields": limits, "classes": ["collapse"]}),
            (
                _("With other offers"),
                {
                    "fields": [*row("exclusion_group"), row("exclusive", "below_cost")],
                    "classes": ["collapse"],
                    "description": _("Whatever is not forbidden here may be used together in one basket."),
                },
            ),
        ]

    @staticmethod
    def _benefits(row: Callable[..., tuple[str, ...]]) -> list[Any]:
        """The benefit's parts: each kind needs one or two of them, and its description says which."""
        return [
            (
                _("Money off"),
                {
                    "fields": [row("percent", "amount_minor"), row("threshold_minor", "max_discount_minor")],
                    "description": _(
                        "A percentage or an amount. For a gift card the amount is its value; free shipping, a gift "
                        "and points need the minimum spend at most; an announcement needs nothing."
                    ),
                    "classes": ["pz-benefit"],
                },
            ),
            (
                _("Steps of a spend threshold"),
                {"fields": [*row("steps")], "classes": ["pz-benefit"]},
            ),
            (
                _("Several for the price of fewer"),
                {"fields": [row("buy_quantity", "pay_quantity")], "classes": ["pz-benefit"]},
            ),
            (
                _("A gift"),
                {
                    "fields": [row("gift_item_id", "gift_value_minor")],
                    "description": _("For the kind “Gift”; a birthday or welcome present may be one too."),
                    "classes": ["pz-benefit"],
                },
            ),
            (
                _("Points, and benefits that come later"),
                {
                    "fields": [row("points", "delay_days")],
                    "description": _("For loyalty points, cash-back and gift cards."),
                    "classes": ["pz-benefit"],
                },
            ),
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

    @admin.display(description=_("Steps"))
    def steps_text(self, offer: Offer) -> str:
        try:
            steps = read_steps(offer.steps)
        except ValueError:
            return str(offer.steps)
        currency = offer.campaign.currency

        def benefit(step: Step) -> str:
            return f"{number(float(step.percent), 2)} %" if step.percent else money(step.amount_minor, currency)

        lines = [
            gettext("from %(spend)s: %(benefit)s")
            % {"spend": money(step.threshold_minor, currency), "benefit": benefit(step)}
            for step in steps
        ]
        return " · ".join(lines) or DASH

    @admin.display(description=_("The gift costs"))
    def gift_value_text(self, offer: Offer) -> str:
        return money(offer.gift_value_minor or None, offer.campaign.currency)

    @admin.display(description=_("Products"))
    def item_ids_text(self, offer: Offer) -> str:
        return catalog.named(words_of(offer.item_ids)) or DASH

    @admin.display(description=_("The gift"))
    def gift_text(self, offer: Offer) -> str:
        return catalog.named([offer.gift_item_id] if offer.gift_item_id else []) or DASH

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
