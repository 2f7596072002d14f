"""The forms behind the campaign page: a campaign, its offers, and finding a coupon by its code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.forms.models import BaseInlineFormSet
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from personalization.admin import audience
from personalization.admin.fields import (
    CountField,
    MoneyField,
    PercentField,
    SlotsField,
    StepsField,
    WordsField,
    ZoneField,
    from_zone,
    in_zone,
)
from personalization.admin.lines import Line, offer_line
from personalization.admin.products import CategoryField, ProductField, ProductsField
from personalization.campaigns import catalog
from personalization.models import Campaign, Offer
from personalization.pure.places import is_host, is_zone, plain_host

FRIENDLY_FIELDS: dict[str, tuple[type[forms.Field], dict[str, Any]]] = {
    "budget_minor": (
        MoneyField,
        {
            "label": _("Budget"),
            "help_text": _("The most that all discounts together may cost. Empty: no limit."),
        },
    ),
    "percent": (PercentField, {"label": _("Percent off")}),
    "amount_minor": (MoneyField, {"label": _("Amount off"), "empty": 0}),
    "threshold_minor": (
        MoneyField,
        {
            "label": _("Minimum spend"),
            "empty": 0,
            "help_text": _("The basket must reach this. Empty: any basket."),
        },
    ),
    "max_discount_minor": (
        MoneyField,
        {"label": _("Largest discount"), "help_text": _("Caps a percentage. Empty: no cap.")},
    ),
    "tiers": (
        WordsField,
        {
            "label": _("Loyalty tiers"),
            "help_text": _("Only shoppers in one of these, with commas or one a line. Empty: all."),
        },
    ),
    "slots": (
        SlotsField,
        {"label": _("Slots"), "help_text": _("Where on the shop's pages the offer may stand.")},
    ),
    "steps": (
        StepsField,
        {
            "label": _("Steps"),
            "help_text": _("The more they spend, the more they get. In place of one minimum spend and one benefit."),
        },
    ),
    "category": (
        CategoryField,
        {"label": _("Category"), "help_text": _("Only these products are discounted. Empty: all.")},
    ),
    "item_ids": (
        ProductsField,
        {"label": _("Products"), "help_text": _("Only these. Empty: all.")},
    ),
    "gift_item_id": (ProductField, {"label": _("The gift")}),
    "gift_value_minor": (
        MoneyField,
        {
            "label": _("The gift costs"),
            "empty": 0,
            "help_text": _("What one gift takes out of the budget."),
        },
    ),
    "buy_quantity": (
        CountField,
        {"label": _("Pieces taken"), "max_value": 1000, "help_text": _("Three for the price of two: 3 taken, 2 paid.")},
    ),
    "pay_quantity": (CountField, {"label": _("Pieces paid"), "max_value": 1000}),
    "points": (CountField, {"label": _("Points granted"), "max_value": 1_000_000}),
    "delay_days": (
        CountField,
        {
            "label": _("Granted after (days)"),
            "empty": 14,
            "max_value": 365,
            "help_text": _("So that the order can hardly be returned any more. Empty: 14."),
        },
    ),
    "sites": (
        WordsField,
        {"label": _("Sites"), "help_text": _("Host names, with commas: de.shop.example. Empty: all sites.")},
    ),
    "time_zone": (
        ZoneField,
        {"label": _("Time zone"), "help_text": _("All dates of this campaign are meant on this clock.")},
    ),
}


MOMENTS = ("starts_at", "ends_at")
PRODUCT_FIELDS = ("category", "item_ids", "gift_item_id")


class MoneyForm(forms.ModelForm):
    """A form whose money fields follow a currency and whose model errors always find a place."""

    counters: tuple[str, ...] = ()
    judged_together: frozenset[str] = frozenset()
    """Fields that the model judges in the light of each other."""

    def set_currency(self, currency: str) -> None:
        for field in self.fields.values():
            if isinstance(field, MoneyField | StepsField):
                field.currency = currency

    def show_in_zone(self, zone: str) -> None:
        """Show this form's moments on the clock of a time zone."""
        if not is_zone(zone):
            return
        for name in MOMENTS:
            moment = getattr(self.instance, name, None)
            if name in self.fields and moment is not None:
                self.initial[name] = in_zone(moment, zone)

    def read_in_zone(self, zone: str) -> None:
        """Take the moments that were typed as the clock of a time zone shows them."""
        same_clock = zone == (self.initial.get("time_zone", zone) or "")
        for name in MOMENTS:
            typed = self.cleaned_data.get(name)
            if typed is None:
                continue
            if self.instance.pk and same_clock and name not in self.changed_data:
                # A form shows whole seconds: what nobody touched stays the moment it is.
                self.cleaned_data[name] = getattr(self.instance, name)
                continue
            if not is_zone(zone):
                continue
            try:
                self.cleaned_data[name] = from_zone(timezone.localtime(typed).replace(tzinfo=None), zone)
            except ValidationError as error:
                self.add_error(name, error)

    def add_error(self, field: str | None, error: Any) -> None:
        """Show errors of fields that are not on this form (they are read-only now) above it.

        What the model says about a field whose input was refused is left out: it has judged what nobody typed.
        """
        if field is None and isinstance(error, ValidationError) and hasattr(error, "error_dict"):
            placed: dict[str, list[ValidationError]] = {}
            refused = self._refused()
            for name, errors in error.error_dict.items():
                if name not in refused:
                    placed.setdefault(name if name in self.fields else NON_FIELD_ERRORS, []).extend(errors)
            error = ValidationError(placed)
        super().add_error(field, error)

    def _refused(self) -> set[str]:
        """Return the fields about whose value nothing more can be said."""
        wrong = set(self.errors) - {NON_FIELD_ERRORS}
        return wrong | self.judged_together if wrong & self.judged_together else wrong

    def _get_validation_exclusions(self) -> set[str]:
        # CHECK constraints that involve a counter are only tested before saving if the counter is not excluded.
        return super()._get_validation_exclusions() - set(self.counters)  # type: ignore[misc]

    def changed_columns(self) -> list[str]:
        """Return the columns to write: never the counters, which checkouts change meanwhile."""
        columns = {field.name for field in self._meta.model._meta.concrete_fields}
        return [name for name in self.cleaned_data if name in columns and name != "id"]


class CampaignForm(audience.AudienceForm, MoneyForm):
    """A campaign with its budget in major units and its audience as plain questions."""

    counters = ("reserved_minor", "spent_minor", "liability_minor")

    class Meta:
        model = Campaign
        fields = ("name",)  # the admin asks for the others; ModelForm wants a list

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rule = self.instance.audience
        values, self._other_conditions = audience.split(rule)
        for name, value in values.items():
            self.initial.setdefault(name, value)
        if not audience.is_editable(rule):
            for name in audience.FIELDS:
                self.fields.pop(name, None)
        if "currency" in self.fields:
            self.fields["currency"].widget.attrs.update(maxlength=3, size=4, autocapitalize="characters")
        self.set_currency(self.currency_code())
        self.show_in_zone(self.instance.time_zone)

    def clean_sites(self) -> list[str]:
        hosts = [plain_host(name) for name in self.cleaned_data["sites"]]
        wrong = next((name for name in hosts if not is_host(name)), None)
        if wrong is not None:
            raise ValidationError(_("“%(name)s” is no host name."), params={"name": wrong})
        return hosts

    def currency_code(self) -> str:
        """Return the currency as typed, or the stored one."""
        typed = self["currency"].value() if "currency" in self.fields else self.instance.currency
        return str(typed or self.instance.currency).strip().upper()

    def clean_currency(self) -> str:
        return str(self.cleaned_data["currency"]).strip().upper()

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        # Read-only dates are not typed: they are not in the cleaned data, and stay the moments they are.
        self.read_in_zone(str(cleaned.get("time_zone", self.instance.time_zone)))
        if any(name in self.fields for name in audience.FIELDS):
            touched = set(audience.FIELDS).intersection(self.changed_data)
            if touched and not touched.intersection(self.errors):
                self.instance.audience = self.rule(self._other_conditions)
        return cleaned


class OfferForm(MoneyForm):
    """An offer's terms, limits and text."""

    counters = ("issued_count", "reserved_count", "redeemed_count")
    judged_together = frozenset({"percent", "amount_minor", "steps"})

    class Meta:
        model = Offer
        fields = ("name",)
        widgets = {"body": forms.Textarea(attrs={"rows": 2}), "body_html": forms.Textarea(attrs={"rows": 4})}

    def __init__(
        self, *args: Any, currency: str = "", zone: str = "", titles: Mapping[str, str] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.zone = zone
        self.set_currency(currency)
        self.show_in_zone(zone)
        slots = self.fields.get("slots")
        if isinstance(slots, SlotsField):
            slots.keep(_as_list(self.instance.slots))
        self._keep_products(titles or {})

    def line(self) -> Line:
        """Return what the page shows of it while it is closed."""
        return offer_line(self.instance)

    def _keep_products(self, titles: Mapping[str, str]) -> None:
        """Let what is stored stay, whatever has become of it in the catalogue."""
        for name in PRODUCT_FIELDS:
            field = self.fields.get(name)
            if isinstance(field, ProductsField | ProductField | CategoryField):
                field.stored = frozenset(map(str, _stored(self.instance, name)))
            if isinstance(field, ProductsField | ProductField):
                field.widget.known = titles

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        self.read_in_zone(self.zone)
        return cleaned


class OfferFormSet(BaseInlineFormSet):
    """All offers of one campaign; they share its currency, the one just typed included."""

    def get_queryset(self) -> Any:
        """Return the stored offers, each of this very campaign: its currency as typed, and no query an offer."""
        rows = super().get_queryset()
        for offer in rows:
            offer.campaign = self.instance
        return rows

    def get_form_kwargs(self, index: int | None) -> dict[str, Any]:
        campaign = self.instance
        given = {"currency": campaign.currency, "zone": campaign.time_zone, "titles": self.titles}
        return {**super().get_form_kwargs(index), **given}

    @cached_property
    def titles(self) -> dict[str, str]:
        """Return id → title of the products that the stored offers name, read at once; empty for what is gone."""
        named = [str(item) for offer in self.get_queryset() for item in _stored(offer, "item_ids", "gift_item_id")]
        return {**dict.fromkeys(named, ""), **catalog.titles(named)}


class FindCodeForm(forms.Form):
    """A coupon's code. It travels in the body of a POST and is never shown again."""

    code = forms.CharField(
        label=_("Code"),
        max_length=100,
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "characters", "spellcheck": "false"}),
    )


def friendly_formfield(field_name: str) -> forms.Field | None:
    """Return the field that people get instead of the raw column, or None where the raw one is fine."""
    found = FRIENDLY_FIELDS.get(field_name)
    return found[0](**found[1]) if found else None


def _stored(offer: Offer, *names: str) -> list[Any]:
    """Return the words of an offer's columns, lists and texts alike."""
    values = [getattr(offer, name) for name in names]
    return [word for value in values for word in (_as_list(value) if isinstance(value, list) else [value]) if word]


def _as_list(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list) else []
