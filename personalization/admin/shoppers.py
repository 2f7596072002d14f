"""Shoppers: what is kept about one of them, what they agreed to, and what is predicted. Nothing is edited here."""

from __future__ import annotations

import contextlib
import uuid
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from personalization import conf
from personalization.admin.base import ChoiceFilter, ReadOnlyAdmin
from personalization.admin.display import DASH, badge, json_block, masked
from personalization.admin.masking import MASK, mask_attributes
from personalization.admin.personal import PersonalAdmin, is_shown
from personalization.admin.predictions import predictions_of
from personalization.models import Campaign, ConsentRecord, Event, Shopper, ShopperAlias, names
from personalization.tracking import sealing
from personalization.tracking.checking import storable

RECENT = 20


class PopulationFilter(ChoiceFilter):
    """The shop's own shoppers, and those of imported data sets that have campaigns."""

    title = _("population")
    parameter_name = "population"

    def choices_of(self) -> list[tuple[str, str]]:
        known = Campaign.objects.order_by("population").values_list("population", flat=True).distinct()
        return [(name, name) for name in dict.fromkeys([conf.get().population, *known])]


@admin.register(Shopper)
class ShopperAdmin(PersonalAdmin[Shopper]):
    list_display = (
        "__str__",
        "population",
        "account",
        "consent_analytics",
        "consent_personalisation",
        "consent_marketing",
        "is_bot",
        "created_at",
    )
    list_select_related = ("user",)
    list_filter = (PopulationFilter, "consent_personalisation", "consent_marketing", "is_bot")
    search_fields = ("key",)  # shows the search box; get_search_results decides
    search_help_text = _("The pseudonym, an account’s name or an imported id, exactly.")
    fieldsets = (
        (None, {"fields": ("key", "population", "account", "joined_at", "created_at", "is_bot", "merged_into")}),
        (_("Profile"), {"fields": ("profile",)}),
        (_("Consent"), {"fields": (("consent_analytics", "consent_personalisation", "consent_marketing"),)}),
    )
    change_form_template = "admin/personalization/shopper/change_form.html"

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Shopper], search_term: str
    ) -> tuple[QuerySet[Shopper], bool]:
        """Find by indexed, exact identities only: a partial search would read the whole table."""
        term = storable(search_term).strip()
        if not term:
            return queryset, False
        account: Any = Shopper._meta.get_field("user").related_model
        wanted = Q(**{f"user__{account.USERNAME_FIELD}": term})
        aliases = ShopperAlias.objects.filter(kind=ShopperAlias.Kind.EXTERNAL, value=term)
        wanted |= Q(pk__in=aliases.values("shopper"))
        with contextlib.suppress(ValueError):
            wanted |= Q(key=uuid.UUID(term.split(":")[-1]))
        return queryset.filter(wanted), False

    @admin.display(description=_("attributes"))
    def profile(self, shopper: Shopper) -> Any:
        if is_shown(shopper):
            return json_block(sealing.open_properties(shopper.attributes))
        return json_block(mask_attributes(shopper.attributes))

    @admin.display(description=_("account"))
    def account(self, shopper: Shopper) -> str:
        if shopper.user is None:
            return DASH
        return str(shopper.user.get_username()) if is_shown(shopper) else MASK

    def person(self, row: Shopper) -> Shopper:
        return row

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        if self.may(request, "view_shopper"):
            return fieldsets
        return [part for part in fieldsets if part[1]["fields"] != ("profile",)]

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        shopper = kwargs.get("obj")
        if shopper is not None:
            may_see = self.may(request, "view_shopper")
            context.update(
                ledger=shopper.consents.order_by("-at", "-pk")[:RECENT],
                aliases=[
                    (alias.get_kind_display(), _alias(alias, shown=is_shown(shopper)), alias.created_at)
                    for alias in shopper.aliases.order_by("pk")[:RECENT]
                ],
                predictions=predictions_of(shopper) if may_see else None,
                events=_events(shopper) if may_see else [],
                decisions=shopper.decisions.defer("eligible", "excluded", "features").order_by("-at")[:RECENT]
                if may_see
                else [],
                coupons=shopper.coupons.select_related("offer").order_by("-issued_at")[:RECENT],
            )
        return super().render_change_form(request, context, *args, **kwargs)


def _events(shopper: Shopper) -> list[tuple[Event, str]]:
    """Return the latest events, each with its type in words."""
    latest = shopper.events.select_related("offer").order_by("-occurred_at")[:RECENT]
    return [(event, names.event_type(event.type)) for event in latest]


def _alias(alias: ShopperAlias, *, shown: bool) -> str:
    """Return by what a shopper is known; never a cookie, with which one could go shopping as them."""
    return alias.value if shown and alias.kind == ShopperAlias.Kind.EXTERNAL else masked(alias.value)


@admin.register(ConsentRecord)
class ConsentRecordAdmin(ReadOnlyAdmin):
    list_display = ("at", "shopper", "purpose_text", "granted_badge", "wording_version", "source_text")
    list_select_related = ("shopper",)
    list_filter = ("granted",)
    fields = ("at", "shopper", "purpose_text", "granted_badge", "wording_version", "source_text")

    @admin.display(description=_("word"), ordering="granted")
    def granted_badge(self, record: ConsentRecord) -> Any:
        return badge(record.word, "live" if record.granted else "retired")

    @admin.display(description=_("purpose"), ordering="purpose")
    def purpose_text(self, record: ConsentRecord) -> str:
        return record.purpose_name

    @admin.display(description=_("given through"), ordering="source")
    def source_text(self, record: ConsentRecord) -> str:
        return record.source_name
