"""Facts as they came in: events, imported files, and the copy of the catalogue."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from personalization import conf
from personalization.admin.base import ChoiceFilter, ReadOnlyAdmin
from personalization.admin.display import DASH, json_block, money
from personalization.admin.masking import MASK, mask_properties, masked_source
from personalization.admin.personal import PersonalAdmin, is_shown
from personalization.models import CatalogItem, Event, EventImport, Shopper, names
from personalization.tracking import schema, sealing


class TypeFilter(ChoiceFilter):
    title = _("type")
    parameter_name = "type"

    def choices_of(self) -> list[tuple[str, str]]:
        return [(name, names.event_type(name)) for name in schema.names()]


@admin.register(Event)
class EventAdmin(PersonalAdmin[Event]):
    list_display = (
        "occurred_at",
        "type_name",
        "shopper",
        "item_id",
        "category",
        "offer",
        "value",
        "channel",
        "sender",
        "is_bot",
    )
    list_select_related = ("shopper", "offer")
    list_filter = (TypeFilter, "channel", "is_bot")
    linked = ("shopper",)
    fieldsets = (
        (None, {"fields": ("type_name", "shopper", "occurred_at", "item_id", "category", "offer", "value")}),
        (_("Properties"), {"fields": ("properties_text",)}),
        (
            _("Origin"),
            {
                "fields": (
                    ("sender", "identity"),
                    ("channel", "schema_version"),
                    ("sent_at", "received_at", "clock_corrected"),
                    "is_bot",
                )
            },
        ),
    )

    @admin.display(description=_("type"), ordering="type")
    def type_name(self, event: Event) -> str:
        return names.event_type(event.type)

    @admin.display(description=_("value"))
    def value(self, event: Event) -> str:
        currency = event.properties.get("currency") if isinstance(event.properties, dict) else None
        return money(event.value_minor, str(currency or conf.get().currency))

    @admin.display(description=_("properties"))
    def properties_text(self, event: Event) -> Any:
        if is_shown(event):
            return json_block(sealing.open_properties(event.properties))
        return json_block(mask_properties(event.type, event.properties))

    @admin.display(description=_("source"), ordering="source")
    def sender(self, event: Event) -> str:
        return (event.source if is_shown(event) else masked_source(event.source)) or DASH

    @admin.display(description=_("event id"))
    def identity(self, event: Event) -> str:
        return event.event_id if is_shown(event) else MASK  # an order's event has its number in its id

    def person(self, row: Event) -> Shopper:
        return row.shopper


@admin.register(EventImport)
class EventImportAdmin(ReadOnlyAdmin):
    list_display = ("started_at", "name", "source", "rows_done", "accepted", "duplicates", "quarantined", "finished_at")
    fields = (
        "name",
        "source",
        "digest",
        ("started_at", "finished_at"),
        ("rows_done", "accepted", "duplicates", "quarantined", "dropped"),
    )


@admin.register(CatalogItem)
class CatalogItemAdmin(ReadOnlyAdmin):
    list_display = ("title", "item_id", "category", "brand", "price", "cost", "visible", "synced_at")
    list_filter = ("visible", "population")
    search_fields = ("title", "item_id", "category", "brand")
    fields = (
        "item_id",
        "title",
        "category",
        "brand",
        "price",
        "cost",
        "visible",
        "label",
        "population",
        "synced_at",
    )

    @admin.display(description=_("price"), ordering="price_minor")
    def price(self, item: CatalogItem) -> str:
        return money(item.price_minor, item.currency)

    @admin.display(description=_("cost"), ordering="cost_minor")
    def cost(self, item: CatalogItem) -> str:
        return money(item.cost_minor, item.currency)
