"""Checkout: one form makes one order; stock, coupon and order hold or fall together."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.db.models import Sum
from django.urls import reverse

from personalization import api
from personalization.models import Campaign, Event, LedgerEntry, Offer, Redemption
from shop import checkout
from shop.models import CustomerProfile, Order, OrderLine, Product
from tests.shop.conftest import Browser

Products = Callable[..., Product]
Campaigns = Callable[..., Campaign]


@pytest.fixture
def committed(django_capture_on_commit_callbacks: Any) -> Any:
    """What follows a commit happens inside this block's end."""
    return lambda: django_capture_on_commit_callbacks(execute=True)


def test_a_guest_orders(browser: Browser, product: Product, committed: Any) -> None:
    browser.fill(product, 3)
    with committed():
        page = browser.check_out()
    order = Order.objects.get()
    assert page.redirect_chain[-1][0] == order.get_absolute_url()
    assert order.number in page.content.decode()
    assert (order.user, order.email, order.total_minor, order.discount_minor) == (
        None,
        "ada@example.org",
        3000,
        0,
    )
    line = order.lines.get()
    assert (line.product, line.title, line.quantity, line.unit_price_minor) == (product, "Green Tea", 3, 1000)
    product.refresh_from_db()
    assert product.stock == 7
    assert page.context["basket_count"] == 0


def test_the_order_is_announced_exactly_once(browser: Browser, product: Product, committed: Any) -> None:
    browser.fill(product)
    form = browser.form()
    with committed():
        browser.post(reverse("shop:checkout"), form)
        browser.post(reverse("shop:checkout"), form)
    with committed():
        api.backfill_orders()
    event = Event.objects.get(type="order_placed")
    order = Order.objects.get()
    assert event.value_minor == 1000
    assert event.properties["order_id"] == order.number
    assert event.properties["lines"] == [
        {"item_id": str(product.pk), "quantity": 1, "unit_price_minor": 1000, "category": "coffee-tea"}
    ]


def test_an_account_orders_and_finds_the_order_again(browser: Browser, product: Product) -> None:
    user = User.objects.create_user("ada@example.org", "ada@example.org", "analytical", first_name="Ada")
    CustomerProfile.objects.create(user=user, tier="gold")
    browser.force_login(user)
    browser.fill(product)
    browser.check_out()
    order = Order.objects.get()
    assert order.user == user
    page = browser.get(reverse("shop:account")).content.decode()
    assert order.number in page
    assert "Gold" in page
    browser.fill(product)
    assert "St James" in browser.get(reverse("shop:checkout")).content.decode()


def test_a_coupon_is_redeemed_with_the_order(
    browser: Browser, make_product: Products, make_campaign: Campaigns
) -> None:
    browser.fill(make_product("Green Tea"), 2)
    browser.fill(make_product("Earl Grey", price_minor=500))
    coupon = browser.claim(make_campaign())
    browser.check_out()
    order = Order.objects.get()
    assert (order.total_minor, order.discount_minor) == (2250, 250)
    assert sorted(order.lines.values_list("discount_minor", flat=True)) == [50, 200]
    redemption = Redemption.objects.get()
    assert (redemption.order_label, redemption.order_id) == ("shop.order", order.number)
    assert redemption.amount_minor == 250
    assert redemption.reservation_id == order.reservation_id
    coupon.refresh_from_db()
    assert (coupon.used_count, coupon.reserved_count) == (1, 0)
    assert Campaign.objects.get().spent_minor == 250
    browser.fill(Product.objects.get(slug="earl-grey"))
    assert browser.get(reverse("shop:basket")).context["quote"].coupon_ids == ()


def test_the_same_form_twice_makes_one_order(browser: Browser, product: Product, make_campaign: Campaigns) -> None:
    browser.fill(product, 2)
    browser.claim(make_campaign())
    form = browser.form()
    first = browser.post(reverse("shop:checkout"), form)
    second = browser.post(reverse("shop:checkout"), form)
    assert first.headers["Location"] == second.headers["Location"] == Order.objects.get().get_absolute_url()
    product.refresh_from_db()
    assert product.stock == 8
    assert Redemption.objects.count() == 1


def test_the_database_refuses_a_second_order_of_a_token(browser: Browser, product: Product) -> None:
    browser.fill(product)
    browser.check_out()
    token = Order.objects.get().checkout_token
    with pytest.raises(IntegrityError), transaction.atomic():
        Order.objects.create(number="x", checkout_token=token, currency="EUR")


def sender(browser: Browser, form: dict[str, str]) -> Callable[[], str]:
    """Return a call that sends the form and says where the answer leads."""
    return lambda: browser.post(reverse("shop:checkout"), form).headers["Location"]


def send_at_once(posts: list[Callable[[], str]]) -> list[str]:
    """Run the requests on threads of their own, started together; returns their answers."""
    gate = Barrier(len(posts))

    def send(post: Callable[[], str]) -> str:
        gate.wait()
        try:
            return post()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(posts)) as pool:
        return list(pool.map(send, posts))


@pytest.mark.django_db(transaction=True)
def test_the_same_form_four_times_at_once_makes_one_order(
    browser: Browser, product: Product, make_campaign: Campaigns
) -> None:
    browser.fill(product, 2)
    browser.claim(make_campaign())
    form = browser.form()

    def twin() -> Callable[[], str]:
        other = Browser()
        other.cookies.load(browser.cookies.output(header="", sep=";"))
        return sender(other, form)

    answers = send_at_once([twin() for _ in range(4)])
    assert set(answers) == {Order.objects.get().get_absolute_url()}
    assert Product.objects.get().stock == 8
    assert Redemption.objects.count() == 1
    assert Campaign.objects.get().spent_minor == 200


@pytest.mark.django_db(transaction=True)
def test_the_last_piece_is_sold_once(make_product: Products) -> None:
    product = make_product(stock=1)
    posts: list[Callable[[], str]] = []
    for _ in range(4):
        shopper = Browser()
        shopper.fill(product)
        posts.append(sender(shopper, shopper.form()))
    answers = send_at_once(posts)
    assert sorted(answers) == sorted([reverse("shop:basket")] * 3 + [Order.objects.get().get_absolute_url()])
    assert Product.objects.get().stock == 0


def test_sold_out_in_between_places_nothing(browser: Browser, make_product: Products, make_campaign: Campaigns) -> None:
    tea, scarce = make_product("Green Tea"), make_product("Earl Grey")
    browser.fill(tea)
    browser.fill(scarce)
    coupon = browser.claim(make_campaign())
    form = browser.form()
    Product.objects.filter(pk=scarce.pk).update(stock=0)
    page = browser.post(reverse("shop:checkout"), form, follow=True)
    assert "not enough of Earl Grey" in page.content.decode()
    assert not Order.objects.exists()
    assert LedgerEntry.objects.aggregate(left=Sum("reserved_delta"))["left"] == 0
    assert not Redemption.objects.exists()
    tea.refresh_from_db()
    coupon.refresh_from_db()
    assert (tea.stock, coupon.used_count, coupon.reserved_count) == (10, 0, 0)
    assert page.context["basket_count"] == 2


def test_a_changed_discount_is_shown_and_asked_again(
    browser: Browser, product: Product, make_campaign: Campaigns
) -> None:
    browser.fill(product)
    browser.claim(make_campaign())
    form = browser.form()
    assert form["discount_minor"] == "100"
    Offer.objects.update(percent=5)
    browser.fill(product)
    page = browser.post(reverse("shop:checkout"), form)
    assert "The total has changed" in page.content.decode()
    assert page.context["quote"].total_minor == 1900
    assert "Ada Byron" in page.content.decode()
    assert not Order.objects.exists()
    assert not Redemption.objects.exists()
    browser.check_out()
    assert Order.objects.get().discount_minor == 100


def test_the_discount_that_was_shown_is_kept(browser: Browser, product: Product, make_campaign: Campaigns) -> None:
    browser.fill(product)
    browser.claim(make_campaign())
    form = browser.form()
    Offer.objects.update(percent=5)
    browser.post(reverse("shop:checkout"), form)
    assert Order.objects.get().discount_minor == Redemption.objects.get().amount_minor == 100


@pytest.mark.parametrize("quote", ["", "made-up", "a:b:c"])
def test_a_discount_needs_the_quote_that_was_signed(
    browser: Browser, product: Product, make_campaign: Campaigns, quote: str
) -> None:
    browser.fill(product)
    browser.claim(make_campaign())
    page = browser.post(reverse("shop:checkout"), browser.form() | {"quote": quote})
    assert "The total has changed" in page.content.decode()
    assert not Order.objects.exists()


def test_a_changed_price_is_asked_again_too(browser: Browser, product: Product) -> None:
    browser.fill(product)
    form = browser.form()
    Product.objects.update(price_minor=1200)
    page = browser.post(reverse("shop:checkout"), form)
    assert page.context["quote"].total_minor == 1200
    assert not Order.objects.exists()


def test_a_coupon_that_ended_is_asked_again_without_it(
    browser: Browser, product: Product, make_campaign: Campaigns
) -> None:
    browser.fill(product)
    campaign = make_campaign()
    browser.claim(campaign)
    form = browser.form()
    api.transition(campaign, Campaign.Status.PAUSED)
    page = browser.post(reverse("shop:checkout"), form)
    assert "This code cannot be used." in page.content.decode()
    assert page.context["quote"].total_minor == 1000
    assert not Order.objects.exists()
    browser.check_out()
    assert Order.objects.get().total_minor == 1000


def test_a_coupon_below_its_threshold_does_not_block_the_order(
    browser: Browser, product: Product, make_campaign: Campaigns
) -> None:
    browser.fill(product, 5)
    browser.claim(make_campaign(kind="spend_threshold", threshold_minor=4000))
    browser.post(reverse("shop:basket-change", args=[product.slug]), {"quantity": 1})
    browser.check_out()
    order = Order.objects.get()
    assert (order.total_minor, order.discount_minor, order.reservation_id) == (1000, 0, None)


def test_missing_fields_are_named_and_keep_the_rest(browser: Browser, product: Product) -> None:
    browser.fill(product)
    page = browser.check_out(email="nowhere", city="")
    assert set(page.context["form"].errors) == {"email", "city"}
    assert "Ada Byron" in page.content.decode()
    assert not Order.objects.exists()


@pytest.mark.parametrize("token", ["", "x", "00000000-0000-4000-8000-000000000000"])
def test_a_token_of_nobody_s_is_refused(browser: Browser, product: Product, token: str) -> None:
    browser.fill(product)
    page = browser.check_out(token=token)
    assert "form has expired" in page.content.decode()
    assert not Order.objects.exists()


@pytest.mark.parametrize("shown", ["", "-1", "x", "999", "9" * 5000])
def test_a_forged_total_is_never_charged(browser: Browser, product: Product, shown: str) -> None:
    browser.fill(product)
    page = browser.check_out(total_minor=shown)
    assert "The total has changed" in page.content.decode()
    assert not Order.objects.exists()


def test_an_empty_basket_cannot_be_checked_out(browser: Browser, db: None) -> None:
    assert browser.get(reverse("shop:checkout")).headers["Location"] == reverse("shop:basket")


def test_orders_are_seen_and_cancelled_by_their_owner_only(browser: Browser, product: Product) -> None:
    browser.fill(product)
    browser.check_out()
    order = Order.objects.get()
    stranger = Browser()
    assert stranger.get(order.get_absolute_url()).status_code == 404
    assert stranger.post(reverse("shop:order-cancel", args=[order.number])).status_code == 404
    order.refresh_from_db()
    assert order.status == Order.Status.PLACED


def test_cancelling_gives_back_stock_and_budget_once(
    browser: Browser, product: Product, make_campaign: Campaigns, committed: Any
) -> None:
    browser.fill(product, 2)
    browser.claim(make_campaign())
    with committed():
        browser.check_out()
    order = Order.objects.get()
    url = reverse("shop:order-cancel", args=[order.number])
    with committed():
        first = browser.post(url, follow=True)
        second = browser.post(url, follow=True)
    assert "Your order is cancelled." in first.content.decode()
    assert "cancelled before" in second.content.decode()
    product.refresh_from_db()
    assert product.stock == 10
    assert Campaign.objects.get().spent_minor == 0
    assert Redemption.objects.get().refunded_minor == 200
    refunded = Event.objects.get(type="order_refunded")
    assert (refunded.value_minor, refunded.properties["order_id"]) == (1800, order.number)


def test_a_failing_announcement_does_not_harm_the_order(
    browser: Browser, product: Product, committed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object) -> None:
        raise RuntimeError("tracking is down")

    monkeypatch.setattr(checkout, "order_data", fail)
    browser.fill(product)
    with committed():
        page = browser.check_out()
    assert page.status_code == 200
    assert Order.objects.count() == 1


@pytest.mark.parametrize(
    ("quantity", "discount"), [(0, 0), (1, 1001), (1, -1)], ids=["no piece", "more than the line", "negative"]
)
def test_the_database_refuses_nonsense_lines(product: Product, quantity: int, discount: int) -> None:
    order = Order.objects.create(number="1", currency="EUR")
    with pytest.raises(IntegrityError), transaction.atomic():
        OrderLine.objects.create(
            order=order, product=product, quantity=quantity, unit_price_minor=1000, discount_minor=discount
        )


@pytest.mark.parametrize("field", ["stock", "price_minor", "cost_minor"])
def test_the_database_refuses_negative_products(product: Product, field: str) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        Product.objects.update(**{field: -1})
