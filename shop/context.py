"""What every page needs: the basket count, the shelves, whether the data is made up. Lazy: unused is free."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from shop.basket import SessionBasket
from shop.models import Category, SimulationInfo


def basket(request: HttpRequest) -> dict[str, Any]:
    """Give templates ``basket_count``, ``categories`` and ``simulation``."""
    count = SessionBasket(request).count if hasattr(request, "session") else 0
    return {
        "basket_count": count,
        "categories": SimpleLazyObject(lambda: list(Category.objects.all())),
        "simulation": SimpleLazyObject(lambda: SimulationInfo.objects.first()),
    }
