"""Keys that many tables have in the same shape."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models


def staff_key(verbose_name: Any, *, editable: bool = True) -> models.ForeignKey[Any, Any]:
    """Return a key to the member of staff who did something: the deed outlives the account, and nothing leads back."""
    return models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=verbose_name,
        null=True,
        blank=True,
        editable=editable,
        on_delete=models.SET_NULL,
        related_name="+",
    )
