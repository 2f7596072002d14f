"""Walks through Corner Books as a visitor would, over HTTP: event → offer → coupon → order.

Runs in the shop's own environment, where only the web tier is installed; prints what it saw as JSON.
"""

import json
import os
import re
import sys
from datetime import timedelta
from decimal import Decimal
from html import unescape

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "corner.settings")
django.setup()

from corner.models import Book, Purchase, Reader  # noqa: E402
from django.conf import settings  # noqa: E402
from django.db.models import F  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import override_settings  # noqa: E402
from django.utils import timezone  # noqa: E402

from personalization import api  # noqa: E402
from personalization.campaigns.ledger import verify_ledger  # noqa: E402
from personalization.models import Campaign, Coupon, Event, Offer, Redemption  # noqa: E402

BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


def visitor():
    """Return a browser that, like a real one, has to bring the CSRF token of the form it sends."""
    return Client(enforce_csrf_checks=True, headers={"user-agent": BROWSER})


def form(page, action):
    """Return the hidden fields of the form with this action."""
    html = page.content.decode()
    found = re.search(rf'<form[^>]*action="{re.escape(action)}"[^>]*>(.*?)</form>', html, re.S)
    assert found, f"no form for {action} in {html[:2000]}"
    inputs = re.findall(r"<input[^>]*>", found[1])
    fields = {}
    for tag in inputs:
        name, value = re.search(r'name="([^"]*)"', tag), re.search(r'value="([^"]*)"', tag)
        if 'type="hidden"' in tag and name:
            fields[name[1]] = unescape(value[1]) if value else ""
    return fields


def submit(client, page, action, **fields):
    """Send a form of the page with these fields filled in, and follow the redirect."""
    answer = client.post(action, form(page, action) | fields, follow=True)
    assert answer.status_code == 200, answer.content[:2000]
    return answer


def stock_the_shop():
    """Put books on the shelves and start a campaign: 3.00 off any order from 10.00."""
    Book.objects.create(isbn="9780000000011", title="Winter Walks", shelf="travel", price=Decimal("18.50"), copies=9)
    Book.objects.create(isbn="9780000000028", title="Slow Bread", shelf="kitchen", price=Decimal("12.00"), copies=9)
    api.sync_catalog()
    now = timezone.now()
    campaign = Campaign.objects.create(
        name="Rainy week", starts_at=now - timedelta(hours=1), ends_at=now + timedelta(days=7), budget_minor=1000
    )
    Offer.objects.create(
        campaign=campaign,
        name="3.00 off from 10.00",
        kind="spend_threshold",
        amount_minor=300,
        threshold_minor=1000,
        slots=["front_page"],
        headline="3.00 off your books",
        cta_label="Take it",
    )
    api.launch(campaign)
    return campaign


def walk():
    campaign = stock_the_shop()
    figures = {}
    client = visitor()

    page = client.get("/")
    client.get("/books/9780000000011/")
    figures["events_without_consent"] = Event.objects.count()
    assert "pz_visitor" not in client.cookies, "a cookie was set before consent"

    submit(client, page, "/personalization/consent/", answer="all")
    assert client.cookies["pz_visitor"].value
    page = client.get("/books/9780000000011/")
    figures["product_viewed"] = Event.objects.filter(type="product_viewed", item_id="9780000000011").count()

    script = re.search(r'data-pz-endpoint="([^"]+)" data-pz-token="([^"]+)"', page.content.decode())
    events = [{"id": "walk-1", "type": "page_viewed", "properties": {"path": "/books/9780000000011/"}}]
    body = json.dumps({"token": unescape(script[2]), "events": events})
    for _ in range(2):  # a repeated beacon is stored once
        assert client.post(script[1], body, content_type="text/plain").status_code == 204
    figures["beacon_events"] = Event.objects.filter(type="page_viewed").count()

    page = client.get("/")
    assert "3.00 off your books" in page.content.decode(), "the offer is not on the front page"
    submit(client, page, "/personalization/claim/")
    assert Coupon.objects.count() == 1

    page = client.get("/books/9780000000011/")
    page = submit(client, page, "/bag/add/")
    code = re.search(r'<option value="([^"]+)">', page.content.decode())[1]
    figures["discount_minor"] = buy(client, page, code)
    figures["order_events"] = Event.objects.filter(type="order_placed").count()

    page = submit(client, client.get("/books/9780000000028/"), "/bag/add/")
    refused = submit(client, page, "/bag/buy/", email="guest@example.com", code=code)
    figures["redeemed_twice"] = Redemption.objects.count() != 1
    assert "cannot be used" in refused.content.decode(), refused.content[-1500:]

    figures["account_discount_minor"] = walk_with_an_account()
    figures["ledger"] = verify_ledger(campaign)
    assert Campaign.objects.filter(pk=campaign.pk, budget_minor__gte=F("spent_minor")).exists()
    figures["loaded_by_the_request"] = sorted({"torch", "celery", "polars"} & set(sys.modules))
    return figures


def buy(client, page, code):
    """Buy what is in the bag; return the discount in cents as the shop's own order has it."""
    before = set(Purchase.objects.values_list("pk", flat=True))
    submit(client, page, "/bag/buy/", email="guest@example.com", code=code)
    (purchase,) = Purchase.objects.exclude(pk__in=before)
    assert Redemption.objects.filter(order_label="corner.purchase", order_id=purchase.pk).exists()
    return int(purchase.discount * 100)


def walk_with_an_account():
    """A reader with an account: the same walk, and the staff sees the campaign in the admin."""
    client = visitor()
    reader = Reader.objects.create_superuser("reader@example.com", "secret-words-of-a-reader")
    page = submit(client, client.get("/"), "/personalization/consent/", answer="all")
    client.force_login(reader)
    page = client.get("/")
    submit(client, page, "/personalization/claim/")
    page = submit(client, client.get("/books/9780000000028/"), "/bag/add/")
    code = re.search(r'<option value="([^"]+)">', page.content.decode())[1]
    discount = buy(client, page, code)
    for address in ("/admin/", "/admin/personalization/campaign/"):
        assert client.get(address).status_code == 200, address
    return discount


if __name__ == "__main__":
    everybody = settings.PERSONALIZATION | {"HOLDOUT_PERCENT": 0.0}  # the walk must not be drawn into the holdout
    with override_settings(PERSONALIZATION=everybody):
        print(json.dumps(walk()))
