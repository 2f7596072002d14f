"""Form fields that let people type what the database keeps in another shape: money, lists, choices of slots."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from django import forms
from django.contrib.admin.widgets import AdminSplitDateTime
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from personalization import conf
from personalization.models.offer_rules import MAX_STEPS
from personalization.pure.money import exponent, from_minor, to_minor


class MoneyInput(forms.NumberInput):
    """A number with its currency in front."""

    template_name = "admin/personalization/widgets/money.html"
    currency = ""

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        context = super().get_context(name, value, attrs)
        places = exponent(self.currency)
        context["widget"]["attrs"].update(
            step=str(Decimal(1).scaleb(-places)), inputmode="decimal" if places else "numeric"
        )
        context["widget"]["currency"] = self.currency
        return context


class MoneyField(forms.DecimalField):
    """An amount typed in major units and cleaned to whole minor units.

    The form sets the currency before it is shown or cleaned. ``empty`` is what a blank field means.
    """

    widget = MoneyInput

    def __init__(self, *, empty: int | None = None, **kwargs: Any) -> None:
        self.empty = empty
        self._currency = conf.get().currency
        super().__init__(min_value=0, max_digits=15, required=False, **kwargs)

    @property
    def currency(self) -> str:
        return self._currency

    @currency.setter
    def currency(self, code: str) -> None:
        self._currency = code
        self.widget.currency = code

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, int):
            return None if value == self.empty else from_minor(value, self.currency)
        return value

    def clean(self, value: Any) -> int | None:
        amount = super().clean(value)
        if amount is None:
            return self.empty
        try:
            return to_minor(amount, self.currency)
        except ValueError as error:
            places = exponent(self.currency)
            if not places:
                raise ValidationError(
                    _("%(currency)s has no decimals."), code="decimals", params={"currency": self.currency}
                ) from error
            raise ValidationError(
                ngettext(
                    "%(currency)s has at most %(places)d decimal.",
                    "%(currency)s has at most %(places)d decimals.",
                    places,
                ),
                code="decimals",
                params={"currency": self.currency, "places": places},
            ) from error

    def has_changed(self, initial: Any, data: Any) -> bool:
        if self.disabled:
            return False
        try:
            return bool(self.clean(data) != (self.empty if initial is None else initial))
        except ValidationError:
            return True


class StepsInput(forms.Widget):
    """A small table: from this spend on, this percentage or this amount. It works without script."""

    template_name = "admin/personalization/widgets/steps.html"
    currency = ""
    SPARE = 3
    PARTS = ("threshold", "percent", "amount")

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        context = super().get_context(name, value, attrs)
        rows = list(value) if isinstance(value, list | tuple) else []
        count = min(len(rows) + self.SPARE, MAX_STEPS)
        places = exponent(self.currency)
        context["widget"].update(
            currency=self.currency,
            step=str(Decimal(1).scaleb(-places)),
            rows=[rows[index] if index < len(rows) else ("", "", "") for index in range(count)],
        )
        return context

    def value_from_datadict(self, data: Any, files: Any, name: str) -> list[tuple[str, ...]]:
        rows = [
            tuple(str(data.get(f"{name}_{index}_{part}") or "").strip() for part in self.PARTS)
            for index in range(MAX_STEPS)
        ]
        return [row for row in rows if any(row)]

    def value_omitted_from_data(self, data: Any, files: Any, name: str) -> bool:
        return f"{name}_0_threshold" not in data


class StepsField(forms.Field):
    """The steps of a spend threshold: typed in major units, kept as ``offer_rules.read_steps`` reads them."""

    widget = StepsInput

    def __init__(self, **kwargs: Any) -> None:
        self._currency = conf.get().currency
        super().__init__(required=False, **kwargs)

    @property
    def currency(self) -> str:
        return self._currency

    @currency.setter
    def currency(self, code: str) -> None:
        self._currency = code
        self.widget.currency = code

    def prepare_value(self, value: Any) -> Any:
        rows = value if isinstance(value, list | tuple) else []
        return [self._row(row) if isinstance(row, dict) else row for row in rows]

    def _row(self, step: dict[str, Any]) -> tuple[Any, ...]:
        threshold, amount = step.get("threshold_minor") or 0, step.get("amount_minor") or 0
        return (
            from_minor(threshold, self.currency) if isinstance(threshold, int) else threshold,
            step.get("percent") or "",
            from_minor(amount, self.currency) if isinstance(amount, int) and amount else "",
        )

    def clean(self, value: Any) -> list[dict[str, Any]]:
        steps = [self._step(number, *row) for number, row in enumerate(value or [], start=1)]
        return sorted(steps, key=lambda step: int(step["threshold_minor"]))

    def _step(self, number: int, threshold: str, percent: str, amount: str) -> dict[str, Any]:
        if not threshold or bool(percent) == bool(amount):
            raise ValidationError(
                _("Step %(number)d needs its spend and either a percentage or an amount."),
                code="incomplete",
                params={"number": number},
            )
        try:
            step: dict[str, Any] = {"threshold_minor": to_minor(_decimal(threshold), self.currency)}
            if percent:
                step["percent"] = f"{_decimal(percent):f}"
            else:
                step["amount_minor"] = to_minor(_decimal(amount), self.currency)
        except (ArithmeticError, ValueError) as error:
            raise ValidationError(
                _("Step %(number)d is no amount in %(currency)s."),
                code="invalid",
                params={"number": number, "currency": self.currency},
            ) from error
        return step

    def has_changed(self, initial: Any, data: Any) -> bool:
        if self.disabled:
            return False
        try:
            return self._comparable(self.clean(data)) != self._comparable(initial or [])
        except ValidationError:
            return True

    @staticmethod
    def _comparable(steps: Any) -> list[tuple[Any, ...]]:
        return [
            (step.get("threshold_minor"), Decimal(str(step.get("percent") or 0)), step.get("amount_minor") or 0)
            for step in steps
            if isinstance(step, dict)
        ]


def _decimal(text: str) -> Decimal:
    """Return a number as typed; raise ArithmeticError for what is none, or no finite one."""
    number = Decimal(text.replace(",", ".") if "." not in text else text)
    if not number.is_finite() or abs(number) > 10**13:
        raise ArithmeticError(text)
    return number


class ZoneField(forms.ChoiceField):
    """A time zone by its name; blank means the shop's own."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("required", False)
        super().__init__(choices=zone_choices, **kwargs)


def zone_choices() -> list[tuple[str, str]]:
    """Return the time zones that people live in, the shop's own first."""
    names = sorted(name for name in available_timezones() if "/" in name and not name.startswith(("Etc/", "posix/")))
    return [("", str(_("the shop’s own"))), ("UTC", "UTC"), *((name, name.replace("_", " ")) for name in names)]


def in_zone(moment: datetime, zone: str) -> datetime:
    """Return a moment as the wall clock of a time zone shows it (naive, for a form)."""
    return moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def from_zone(wall: datetime, zone: str) -> datetime:
    """Return the moment at which the wall clock of a time zone shows this; an hour left out in spring is refused."""
    meant = wall.replace(tzinfo=ZoneInfo(zone))
    if meant.astimezone(UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None) != wall:
        raise ValidationError(_("There is no such hour in %(zone)s on that day."), params={"zone": zone})
    return meant


class MomentField(forms.SplitDateTimeField):
    """A day and a time of day; a day alone means its midnight, so that *Today* is enough."""

    widget = AdminSplitDateTime

    def clean(self, value: Any) -> datetime | None:
        if isinstance(value, list | tuple) and len(value) == 2 and value[0] and not value[1]:
            value = [value[0], time.min]
        return super().clean(value)


class CountField(forms.IntegerField):
    """A whole number; blank means ``empty``, which is shown as blank."""

    def __init__(self, *, empty: int = 0, **kwargs: Any) -> None:
        self.empty = empty
        super().__init__(min_value=0, required=False, **kwargs)

    def prepare_value(self, value: Any) -> Any:
        return None if value == 0 and self.empty == 0 else value

    def clean(self, value: Any) -> int:
        number = super().clean(value)
        return self.empty if number is None else int(number)

    def has_changed(self, initial: Any, data: Any) -> bool:
        if self.disabled:
            return False
        try:
            return bool(self.clean(data) != (self.empty if initial is None else initial))
        except ValidationError:
            return True


class PercentField(forms.DecimalField):
    """A percentage; blank means none."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_value=0, max_value=100, max_digits=5, decimal_places=2, required=False, **kwargs)

    def prepare_value(self, value: Any) -> Any:
        return None if isinstance(value, int | Decimal) and not value else value

    def clean(self, value: Any) -> Decimal:
        return super().clean(value) or Decimal(0)

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool(self.clean(data) != (initial or 0))
        except ValidationError:
            return True


class WordsField(forms.CharField):
    """A list of words, typed with commas or one a line."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("required", False)
        super().__init__(**kwargs)

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(str(word) for word in value) if isinstance(value, list | tuple) else value

    def clean(self, value: Any) -> list[str]:
        text = super().clean(value)
        words = (word.strip() for word in re.split(r"[,\n\r，、]", text))
        return list(dict.fromkeys(word for word in words if word))

    def has_changed(self, initial: Any, data: Any) -> bool:
        if self.disabled:
            return False
        before = initial if isinstance(initial, list | tuple) else []
        try:
            return self.clean(data) != list(before)
        except ValidationError:
            return True


class SlotsField(forms.MultipleChoiceField):
    """Check boxes for the declared slots; a stored slot that is not declared any more can still be taken off."""

    widget = forms.CheckboxSelectMultiple

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("required", False)
        super().__init__(choices=slot_choices, **kwargs)

    def keep(self, stored: Iterable[Any]) -> None:
        """Offer stored slots that the settings do not declare."""
        declared = conf.get().slots
        extra = [(str(slot), _("%s (not declared)") % slot) for slot in stored if str(slot) not in declared]
        if extra:
            self.choices = [*slot_choices(), *extra]


def slot_choices() -> list[tuple[str, str]]:
    """Return the declared slots as choices."""
    return list(conf.get().slots.items())
