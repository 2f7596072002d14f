"""Decisions with their explanation, and the exposures that came of them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from personalization import conf
from personalization.admin.base import ChoiceFilter, ReadOnlyAdmin
from personalization.admin.display import DASH, money, number, percent
from personalization.admin.explanation import explain, why_in_words
from personalization.models import Decision, Exposure


class SlotFilter(ChoiceFilter):
    """The declared slots; reading them from the table would scan it."""

    title = _("slot")
    parameter_name = "slot"

    def choices_of(self) -> list[tuple[str, str]]:
        return list(conf.get().slots.items())


@admin.register(Decision)
class DecisionAdmin(ReadOnlyAdmin):
    list_display = ("at", "slot", "shopper", "arm", "chosen_count", "why", "model_version")
    list_select_related = ("shopper", "model_version")
    list_filter = (SlotFilter, "arm")
    linked = ("shopper",)
    ordering = ("-at",)
    fieldsets = ((None, {"fields": ("at", "slot", "shopper", "arm", "policy", "why", "model_version")}),)
    change_form_template = "admin/personalization/decision/change_form.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Decision]:
        queryset = super().get_queryset(request)
        if request.resolver_match and request.resolver_match.url_name == "personalization_decision_changelist":
            return queryset.defer("eligible", "features")  # a list needs none of the large columns
        return queryset

    @admin.display(description=_("chosen"))
    def chosen_count(self, decision: Decision) -> str:
        return number(len(decision.chosen)) if isinstance(decision.chosen, list) else DASH

    @admin.display(description=_("why"))
    def why(self, decision: Decision) -> str:
        return why_in_words(decision)

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        decision = kwargs.get("obj")
        if decision is not None:
            context["explanation"] = explain(decision, with_features=self.may(request, "view_shopper"))
            context["exposures"] = decision.exposures.select_related("offer").order_by("position", "pk")[:50]
        return super().render_change_form(request, context, *args, **kwargs)


@admin.register(Exposure)
class ExposureAdmin(ReadOnlyAdmin):
    list_display = (
        "exposed_at",
        "arm",
        "campaign",
        "offer",
        "shopper",
        "propensity_text",
        "outcome",
        "revenue",
        "cost",
    )
    list_select_related = ("campaign", "offer", "shopper")
    list_filter = (
        "arm",
        ("purchased_at", admin.EmptyFieldListFilter),
        ("redeemed_at", admin.EmptyFieldListFilter),
    )
    linked = ("campaign",)
    fieldsets = (
        (
            None,
            {"fields": ("decision", "shopper", "campaign", "offer", "arm", "position", "propensity_text")},
        ),
        (_("Window"), {"fields": ("exposed_at", "window_ends_at")}),
        (
            _("Outcome"),
            {
                "fields": (
                    "viewed_at",
                    "clicked_at",
                    "claimed_at",
                    "redeemed_at",
                    "purchased_at",
                    "revenue",
                    "cost",
                )
            },
        ),
        (_("Origin"), {"fields": ("source", "source_row")}),
    )

    @admin.display(description=_("propensity"), ordering="propensity")
    def propensity_text(self, exposure: Exposure) -> str:
        return percent(exposure.propensity)

    @admin.display(description=_("furthest outcome"))
    def outcome(self, exposure: Exposure) -> Any:
        steps = (
            (exposure.purchased_at, _("purchased")),
            (exposure.redeemed_at, _("redeemed")),
            (exposure.claimed_at, _("claimed")),
            (exposure.clicked_at, _("clicked")),
            (exposure.viewed_at, _("viewed")),
        )
        return next((word for moment, word in steps if moment is not None), DASH)

    @admin.display(description=_("revenue in the window"))
    def revenue(self, exposure: Exposure) -> str:
        return money(exposure.revenue_minor, _currency(exposure))

    @admin.display(description=_("discount given"))
    def cost(self, exposure: Exposure) -> str:
        return money(exposure.cost_minor, _currency(exposure))


def _currency(exposure: Exposure) -> str:
    return exposure.campaign.currency if exposure.campaign is not None else conf.get().currency
