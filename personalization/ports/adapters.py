"""What a host implements: small Protocols, each named by a dotted path in PERSONALIZATION."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Protocol, cast

from django.core.signals import setting_changed
from django.http import HttpRequest
from django.utils.module_loading import import_string

from personalization import conf
from personalization.types import OrderData, ProductData, ProfileData, Purpose


class Catalog(Protocol):
    """The shop's products. ``label`` names the host's model, for instance ``"shop.product"``."""

    label: str

    def products(self) -> Iterator[ProductData]:
        """Yield every product, hidden ones included, streamed."""

    def get(self, item_ids: Sequence[str]) -> dict[str, ProductData]:
        """Return the current truth about these products in one query; unknown ids are left out."""


class Orders(Protocol):
    """The shop's orders. ``label`` names the host's model, for instance ``"shop.order"``."""

    label: str

    def orders(self, since: datetime | None = None) -> Iterator[OrderData]:
        """Yield orders placed at or after ``since`` (all, if None), oldest first, streamed."""


class Shoppers(Protocol):
    """What the shop knows about its accounts."""

    def profile(self, user: Any) -> ProfileData:
        """Return one account's profile."""

    def profiles(self) -> Iterator[tuple[Any, ProfileData]]:
        """Yield (account primary key, profile) for all accounts, streamed."""


class Consent(Protocol):
    """A consent manager of the host's. Without one the app's own ledger decides."""

    def purposes(self, request: HttpRequest) -> frozenset[Purpose]:
        """Return the purposes this visitor has agreed to, read from the request alone."""


class Contacts(Protocol):
    """How accounts are reached. Asked when a message goes out: the app keeps no address."""

    def addresses(self, channel: str, user_ids: Sequence[Any]) -> Mapping[Any, str]:
        """Return account primary key → address for a channel (``email``, …); who has none is left out."""


class Images(Protocol):
    """What the shop's products look like, as numbers: the output of an image model of the host's choice."""

    def image_vectors(self, item_ids: Sequence[str]) -> Sequence[Sequence[float] | None]:
        """Return a vector for each product, in their order, all of one width; None for who has no picture."""


class Points(Protocol):
    """The shop's loyalty points."""

    def grant(self, user_id: Any, points: int, *, operation_id: str) -> None:
        """Book points to an account (negative: take back); a repeated ``operation_id`` books nothing twice."""


@lru_cache(maxsize=8)
def _load(path: str) -> Any:
    target = import_string(path)
    return target() if isinstance(target, type) else target


def catalog() -> Catalog | None:
    """Return the host's catalogue adapter, or None where none is configured."""
    path = conf.get().catalog
    return cast(Catalog, _load(path)) if path else None


def orders() -> Orders | None:
    """Return the host's orders adapter, or None where none is configured."""
    path = conf.get().orders
    return cast(Orders, _load(path)) if path else None


def shoppers() -> Shoppers | None:
    """Return the host's profile adapter, or None where none is configured."""
    path = conf.get().shoppers
    return cast(Shoppers, _load(path)) if path else None


def consent() -> Consent | None:
    """Return the host's consent adapter, or None where our own ledger decides."""
    path = conf.get().consent
    return cast(Consent, _load(path)) if path else None


def impersonation() -> Callable[[HttpRequest], bool] | None:
    """Return the host's function that says whether staff are behind a request, or None where it names none."""
    path = conf.get().impersonation
    return cast(Callable[[HttpRequest], bool], import_string(path)) if path else None


def sentiment() -> Callable[[Sequence[str]], Sequence[float | None]] | None:
    """Return the host's function of texts to sentiments (−1 to 1, None where there is none), or None without one."""
    path = conf.get().sentiment
    return cast(Callable[[Sequence[str]], Sequence[float | None]], import_string(path)) if path else None


def contacts() -> Contacts | None:
    """Return the adapter of addresses, or None where nothing can be pushed."""
    path = conf.get().contacts
    return cast(Contacts, _load(path)) if path else None


def images() -> Images | None:
    """Return the adapter of image vectors, or None where the shop supplies none."""
    path = conf.get().images
    return cast(Images, _load(path)) if path else None


def points() -> Points | None:
    """Return the adapter of loyalty points, or None where the shop has none."""
    path = conf.get().points
    return cast(Points, _load(path)) if path else None


def _forget(*, setting: str, **kwargs: object) -> None:
    if setting == "PERSONALIZATION":
        _load.cache_clear()


setting_changed.connect(_forget, dispatch_uid="personalization.ports")
