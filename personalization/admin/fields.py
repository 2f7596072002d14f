"""Form fields that let people type what the database keeps in another shape: money, lists, choices of slots."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from personalization import conf
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
        return self.clean(data) != list(before)


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
