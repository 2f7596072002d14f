"""Requests, browsers, campaigns that run and what a host would send: for the tests of this folder."""

from __future__ import annotations

import json
import uuid
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpRequest
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone

from personalization import conf
from personalization.models import Campaign, Event, ModelVersion, Offer, ScoreSet, Shopper, ShopperAlias, ShopperScores
from personalization.types import Basket, BasketLine, OrderData
from tests.admin import builders

AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
CRAWLER = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
DAY = timedelta(days=1)
EVENTS = "/personalization/api/v1/events/"
make_user = builders.make_user
make_shopper = builders.make_shopper


def running(**fields: Any) -> Campaign:
    """Return a campaign that began yesterday, with a budget of 1,000.00."""
    return builders.make_campaign(**({"status": "running", "starts_at": timezone.now() - DAY} | fields))


def make_offer(campaign: Campaign | None = None, **fields: Any) -> Offer:
    """Return an offer of a running campaign: ten per cent off, unless said otherwise."""
    if "amount_minor" in fields or fields.get("kind") == "announcement":
        fields.setdefault("percent", 0)
    offer = builders.make_offer(campaign or running(), **fields)
    return Offer.objects.select_related("campaign").get(pk=offer.pk)  # numbers as the database returns them


def make_account(username: str = "") -> Any:
    return get_user_model().objects.create_user(username or f"account-{uuid.uuid4().hex[:8]}", password="pw")


def make_basket(*prices: int, category: str = "", currency: str = "EUR") -> Basket:
    """Return a basket of single products at these prices; one of 100.00 if none is given."""
    lines = [BasketLine(f"p-{number}", 1, price, category) for number, price in enumerate(prices or (10_000,))]
    return Basket(tuple(lines), currency)


def make_order(order_id: str = "1001", **fields: Any) -> OrderData:
    given: dict[str, Any] = {
        "placed_at": timezone.now() - timedelta(hours=1),
        "lines": (BasketLine("p-1", 2, 1500, "tea"),),
        "total_minor": 3000,
        "currency": "EUR",
    }
    return OrderData(order_id=order_id, **(given | fields))


def make_alias(shopper: Shopper) -> str:
    """Return the value of a visitor cookie that leads to this shopper."""
    visitor = uuid.uuid4().hex
    ShopperAlias.objects.create(kind=ShopperAlias.Kind.VISITOR, value=visitor, shopper=shopper)
    return visitor


def make_request(
    *, visitor: str = "", user: Any = None, agent: str = AGENT, headers: dict[str, str] | None = None
) -> HttpRequest:
    """Return a request as it looks behind the shop's middleware."""
    factory = RequestFactory(headers={"user-agent": agent, **(headers or {})})
    if visitor:
        factory.cookies[conf.get().cookie_name] = visitor
    request = factory.get("/")
    request.user = user or AnonymousUser()
    request.session = SessionStore()
    return request


class Browser(Client):
    """A visitor's browser, with a user agent of people and every check of CSRF."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(enforce_csrf_checks=True, **({"headers": {"user-agent": AGENT}} | kwargs))

    def csrf(self) -> str:
        """Return the form token of the shop's home page."""
        if settings.CSRF_COOKIE_NAME not in self.cookies:
            self.get(reverse("shop:privacy"))
        return self.cookies[settings.CSRF_COOKIE_NAME].value

    def answer(self, answer: str = "all", **data: Any) -> Any:
        """Answer the consent banner."""
        given = {"answer": answer, "next": "/", "csrfmiddlewaretoken": self.csrf(), **data}
        return self.post(reverse("personalization:consent"), given)

    def call(self, name: str, body: Any, **kwargs: Any) -> Any:
        """Post JSON to an endpoint of the API."""
        text = body if isinstance(body, str | bytes) else json.dumps(body)
        headers = {"x-csrftoken": self.csrf(), **kwargs.pop("headers", {})}
        return self.post(
            reverse(f"personalization:{name}"), text, content_type="application/json", headers=headers, **kwargs
        )

    def events(self, *events: Any, **kwargs: Any) -> Any:
        return self.call("events", {"events": list(events)}, **kwargs)

    def visitor(self) -> str:
        cookie = self.cookies.get(conf.get().cookie_name)
        return cookie.value if cookie else ""

    def shopper(self) -> Shopper:
        return Shopper.objects.get(aliases__value=self.visitor())


def event(kind: str = "page_viewed", **fields: Any) -> dict[str, Any]:
    """Return an event as the page script sends it."""
    return {"id": uuid.uuid4().hex, "type": kind, **fields}


def make_event(shopper: Shopper, kind: str = "product_viewed", **fields: Any) -> Event:
    given = {"source": "test", "event_id": uuid.uuid4().hex, "occurred_at": timezone.now(), **fields}
    return Event.objects.create(shopper=shopper, type=kind, **given)


def make_scores(*, published_at: datetime | None = None, defaults: dict[str, Any] | None = None) -> ScoreSet:
    """Return a live ScoreSet without anybody in it."""
    version: ModelVersion = builders.make_version(state="champion")
    return ScoreSet.objects.create(
        state=ScoreSet.State.LIVE,
        response_version=version,
        published_at=published_at or timezone.now(),
        defaults=defaults or {},
    )


def score(score_set: ScoreSet, shopper: Shopper, heads: dict[int, list[float]], **fields: Any) -> ShopperScores:
    """Store one shopper's predictions: offer → probabilities in the order of HEADS."""
    given = {"values": {"basket_minor": 10_000}, **fields}
    return ShopperScores.objects.create(
        score_set=score_set, shopper=shopper, offers={str(key): value for key, value in heads.items()}, **given
    )
