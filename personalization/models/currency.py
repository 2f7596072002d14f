"""The column of a currency that is the shop's own unless another one is given."""

from __future__ import annotations

from typing import Any

from django.db import models

from personalization import conf


class CurrencyField(models.CharField):
    """An ISO 4217 code; a new row's is ``PERSONALIZATION["CURRENCY"]``.

    To migrations it is the plain column that it was before: what is in a shop's settings changes no schema.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"max_length": 3, "default": conf.Conf().currency, **kwargs})

    def get_default(self) -> str:
        return conf.get().currency

    def deconstruct(self) -> Any:
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.CharField", args, kwargs
