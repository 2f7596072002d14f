"""The simulated shop: reproducible, consistent with itself, and with effects that are really in the data."""

from __future__ import annotations

import io
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import transaction
from django.db.models import F
from pytest_django import DjangoDbBlocker

from personalization import api
from personalization.insight.forecast import ForecastLine
from personalization.models import Campaign, Event, Exposure, Shopper
from personalization.types import OfferKind
from shop.management.commands import demo
from shop.models import CustomerProfile, Order, OrderLine, Product, SimulationInfo
from shop.simulation import build as building
from shop.simulation import future, truth
from shop.simulation.bulk import devices_of
from shop.simulation.log import Kind
from shop.simulation.offers import KINDS
from shop.simulation.response import eligible, respond
from shop.simulation.waves import CONTROL_SHARE, probabilities, receivers
from shop.simulation.week import drift
from shop.simulation.world import World, simulate

SEED = 11


@pytest.fixture(scope="module")
def world() -> World:
    return simulate(SEED, "small")


@pytest.fixture(scope="module")
def large() -> World:
    return simulate(SEED, "full")


class Silent:
    """Progress that nobody watches; ``stop_in`` names a stage to interrupt after its first step."""

    def __init__(self, stop_in: str = "") -> None:
        self.stop_in = stop_in

    @contextmanager
    def stage(self, label: str, total: int) -> Iterator[Callable[[int], None]]:
        def advance(parts: int) -> None:
            if label == self.stop_in:
                raise KeyboardInterrupt

        yield advance


def test_one_seed_draws_one_world(world: World) -> None:
    again = simulate(SEED, "small")
    for name, column in world.events.items():
        np.testing.assert_array_equal(column, again.events[name])
    np.testing.assert_array_equal(world.orders.gross, again.orders.gross)
    assert world.catalogue.titles == again.catalogue.titles
    assert world.next_offers == again.next_offers


def test_another_seed_draws_another_world(world: World) -> None:
    other = simulate(SEED + 1, "small")
    assert len(other.events["time"]) != len(world.events["time"])


def test_propensities_sum_to_one_for_every_eligibility(world: World) -> None:
    for wave in world.waves:
        chance = probabilities(eligible(world.people, wave.offers), CONTROL_SHARE)
        np.testing.assert_allclose(chance.sum(axis=1), 1.0)
        assert (chance[:, -1] > 0).all()
        logged = chance[wave.exposures.who, wave.exposures.offer]
        np.testing.assert_allclose(logged, wave.exposures.propensity)


def test_offers_go_out_as_often_as_their_propensity_says(large: World) -> None:
    control = np.concatenate([wave.exposures.offer < 0 for wave in large.waves])
    error = 4 * np.sqrt(CONTROL_SHARE * (1 - CONTROL_SHARE) / len(control))
    assert abs(control.mean() - CONTROL_SHARE) < error


def test_members_offers_reach_members_only(world: World) -> None:
    for wave in world.waves:
        allowed = eligible(world.people, wave.offers)
        treated = wave.exposures.offer >= 0
        assert allowed[wave.exposures.who[treated], wave.exposures.offer[treated]].all()


def test_every_redemption_lies_in_an_order_within_the_window(world: World) -> None:
    orders = world.orders
    placed = set(zip(orders.who.tolist(), orders.time.tolist(), orders.offer.tolist(), strict=True))
    for wave in world.waves:
        exposures = wave.exposures
        redeemed = exposures.redeemed >= 0
        assert redeemed.any()
        assert (exposures.viewed[redeemed] >= 0).all()
        assert (exposures.viewed[redeemed] < exposures.redeemed[redeemed]).all()
        assert (exposures.redeemed[redeemed] <= exposures.window_ends[redeemed]).all()
        assert (exposures.redeemed[redeemed] == exposures.purchased[redeemed]).all()
        for who, time, offer in zip(
            exposures.who[redeemed].tolist(),
            exposures.redeemed[redeemed].tolist(),
            exposures.offer[redeemed].tolist(),
            strict=True,
        ):
            assert (who, time, wave.first_offer + offer) in placed


def test_every_redeemed_order_meets_the_terms(world: World) -> None:
    offers = building.past_offers(world)
    orders, catalogue = world.orders, world.catalogue
    assert (orders.discount[orders.offer < 0] == 0).all()
    for n in np.flatnonzero(orders.offer >= 0):
        offer = offers[orders.offer[n]]
        held = orders.items[n][orders.items[n] >= 0]
        assert 0 < orders.discount[n] <= orders.gross[n]
        assert orders.gross[n] >= offer.threshold_minor
        assert offer.category < 0 or (catalogue.category[held] == offer.category).any()
        assert offer.max_discount_minor is None or orders.discount[n] <= offer.max_discount_minor
        assert len(set(held.tolist())) == len(held)


def test_flash_sales_are_redeemed_while_they_run(world: World) -> None:
    for wave in world.waves:
        for number, offer in enumerate(wave.offers):
            if offer.kind == OfferKind.FLASH_SALE:
                redeemed = wave.exposures.redeemed[wave.exposures.offer == number]
                assert (redeemed <= wave.start + offer.flash_hours * 3_600).all()


def test_outcomes_come_in_their_order(world: World) -> None:
    for wave in world.waves:
        exposures = wave.exposures
        viewed, clicked = exposures.viewed >= 0, exposures.clicked >= 0
        assert (exposures.exposed[viewed] < exposures.viewed[viewed]).all()
        assert viewed[clicked].all()
        assert (exposures.viewed[clicked] < exposures.clicked[clicked]).all()
        bought = exposures.purchased >= 0
        assert (exposures.revenue[bought] > 0).all()
        assert (exposures.revenue[~bought] == 0).all()
        control = exposures.offer < 0
        assert not (viewed | clicked)[control].any()
        assert (exposures.cost[control] == 0).all()


def test_the_young_shop_on_phones(large: World) -> None:
    device, age = np.array(devices_of(large.people)), large.people.age
    assert list(device) == devices_of(large.people)
    young, old = [(device[group] == "mobile").mean() for group in (age < 30, age > 60)]
    assert young > old + 0.2
    assert set(device) == {"mobile", "tablet", "desktop"}


def test_nobody_acts_before_joining_or_after_the_end(world: World) -> None:
    events = world.events
    placed = events["kind"] == Kind.ORDER_PLACED
    assert (events["time"][placed] >= world.people.joined[events["who"][placed]]).all()
    assert events["time"].min() > -3_600
    assert world.orders.time.max() < world.seconds


def test_refusing_shoppers_order_and_leave_nothing_else(world: World) -> None:
    refused = ~world.people.consents
    assert 0.02 < refused.mean() < 0.09
    assert not refused[world.events["who"]].any()
    assert refused[world.orders.who].any()
    for wave in world.waves:
        assert not refused[wave.exposures.who].any()


def test_deal_prone_shoppers_redeem_more(large: World) -> None:
    rates = []
    for wave in large.waves:
        coupons = [n for n, offer in enumerate(wave.offers) if offer.kind == OfferKind.COUPON]
        got = np.isin(wave.exposures.offer, coupons)
        taste = large.people.deal_taste[wave.exposures.who[got], KINDS.index(OfferKind.COUPON)]
        used = wave.exposures.redeemed[got] >= 0
        rates.append((used[taste > 0.5].mean(), used[taste < -0.5].mean()))
    prone, averse = np.mean(rates, axis=0)
    assert prone > 2 * averse


def test_offers_sell_more_than_control_and_announcements_hardly_do(large: World) -> None:
    treated = np.concatenate([w.exposures.purchased[w.exposures.offer >= 0] >= 0 for w in large.waves])
    control = np.concatenate([w.exposures.purchased[w.exposures.offer < 0] >= 0 for w in large.waves])
    assert treated.mean() - control.mean() > 0.01
    kinds = truth.summary(large)["kinds"]
    assert kinds["announcement"]["true_uplift"] < 0.2 * kinds["flash_sale"]["true_uplift"]
    assert kinds["announcement"]["redeemed"] == 0


def test_shoppers_differ_in_what_moves_them(large: World) -> None:
    groups = truth.summary(large)["shoppers"]
    assert groups["sure_things"] > 0.02
    assert groups["persuadables"] > 0.1
    assert groups["lost_causes"] > 0.1
    assert sum(share > 0.05 for share in groups["best_kinds"].values()) >= 4


def test_what_comes_next_depends_on_what_came_last(large: World) -> None:
    events, neighbours = large.events, large.catalogue.neighbours
    views = events["kind"] == Kind.PRODUCT_VIEWED
    order = np.lexsort((events["time"][views], events["who"][views]))
    who, item = events["who"][views][order], events["item"][views][order]
    same = who[1:] == who[:-1]
    goes_on = (neighbours[item[:-1]] == item[1:, None]).any(axis=1)[same]
    assert goes_on.mean() > 5 * neighbours.shape[1] / len(large.catalogue)


def test_the_expectation_agrees_with_the_probabilities(large: World) -> None:
    expected = truth.expected_outcomes(large, large.waves[-1].offers, replicates=30)
    who = receivers(large.people, large.seconds)
    assert expected["audience"].mean == len(who)
    assert expected["views"].low < expected["views"].mean < expected["views"].high
    state = large.state.copy()
    drift(np.random.default_rng(1), large.catalogue, state, truth.WEEKS_TO_NEXT_WAVE)
    response = respond(large.people, state, large.waves[-1].offers)
    chance = probabilities(response.eligible, 0.0)[:, :-1]
    assert expected["views"].mean == pytest.approx((chance * response.view)[who].sum(), rel=0.06)
    assert expected["redemptions"].mean == pytest.approx((chance * response.redeem())[who].sum(), rel=0.15)
    assert expected["orders"].mean == pytest.approx((chance * response.purchase())[who].sum(), rel=0.15)
    assert 0 < expected["cost"].mean < expected["revenue"].mean


@pytest.mark.parametrize("stage", ["Past campaigns", "Events"])
def test_an_interrupted_build_goes_on_where_it_stopped(db: None, stage: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        building.build(building.begin(SEED, "small"), Silent(stop_in=stage))
    resumed = building.existing()
    assert resumed is not None
    assert not building.is_complete(resumed)
    building.build(resumed, Silent())
    world = resumed.world
    silent = int((~world.people.consents[world.orders.who]).sum())
    assert Event.objects.count() == len(world.events["time"]) + silent
    assert Exposure.objects.count() == sum(len(wave.exposures) for wave in world.waves)
    assert Campaign.objects.count() == len(world.waves) + 4
    assert SimulationInfo.objects.count() == 1


def test_nobodys_real_shop_is_built_over(db: None) -> None:
    shelf = building.hostrows.Category.objects.create(name="Books", slug="books")
    Product.objects.create(title="A book", slug="a-book", category=shelf, price_minor=1_000)
    with pytest.raises(building.NotASimulation):
        building.begin(SEED, "small")
    assert not SimulationInfo.objects.exists()


def test_a_forecast_is_shown_beside_the_truth() -> None:
    lines = [
        ForecastLine("views", "shoppers who view it", 1_500.0, 1_400.0, 1_600.0, 1_450.0, True),
        ForecastLine("cost", "cost of discounts", 90_000.0, 80_000.0, 100_000.0, None, None),
    ]
    expected = {"views": {"mean": 1_450.0}, "cost": {"mean": 210_000.0}}
    _head, views, cost = future.beside_truth(lines, expected)
    assert "1,500 (1,400 – 1,600)" in views
    assert "yes" in views
    assert "€2,100.00" in cost
    assert "no" in cost


def test_the_demo_does_every_part_once(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []

    def recorded(name: str, *args: str, **kwargs: object) -> None:
        called.append(name)

    monkeypatch.setattr(demo, "call_command", recorded)
    monkeypatch.setattr(demo, "get_commands", lambda: {"train": "worker", "forecast": "worker"})
    first, second = io.StringIO(), io.StringIO()
    call_command("demo", "--no-serve", "--scale", "small", "--seed", str(SEED), stdout=first)
    assert called == ["migrate", "train", "score", "forecast"]
    password = re.search(r"admin +(\S+)", first.getvalue())
    assert password is not None
    owner = User.objects.get(username="admin")
    assert owner.is_superuser
    assert owner.check_password(password[1])
    called.clear()
    call_command("demo", "--no-serve", stdout=second)
    assert called == ["migrate", "board"]
    assert "Its data is kept" in second.getvalue()
    owner.refresh_from_db()
    assert not owner.check_password(password[1])
    assert SimulationInfo.objects.count() == 1


def test_the_demo_says_that_its_port_is_taken(db: None) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(CommandError, match="is taken"):
            call_command("demo", "--port", str(taken.getsockname()[1]))
    assert not SimulationInfo.objects.exists()


@pytest.fixture(scope="module")
def built(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[building.Simulation]:
    """One build for the tests below, undone after the last of them. Tests with a database of their own come above."""
    with django_db_blocker.unblock(), transaction.atomic():
        simulation = building.begin(SEED, "small")
        building.build(simulation, Silent())
        yield simulation
        transaction.set_rollback(True)


def test_a_build_stores_the_whole_world(built: building.Simulation) -> None:
    world = built.world
    silent = int((~world.people.consents[world.orders.who]).sum())
    assert Event.objects.count() == len(world.events["time"]) + silent
    assert Exposure.objects.count() == sum(len(wave.exposures) for wave in world.waves)
    assert Product.objects.count() == len(world.catalogue)
    assert Shopper.objects.count() == len(world.people)
    assert CustomerProfile.objects.count() == (~world.people.visitor).sum()
    refused = Event.objects.filter(shopper__consent_personalisation=False)
    assert set(refused.values_list("type", flat=True)) == {"order_placed"}
    assert not Exposure.objects.filter(window_ends_at__gt=built.info.created_at).exists()
    assert SimulationInfo.objects.get().truth["effects"]["waves"]


def test_backfilling_a_built_shop_adds_nothing(built: building.Simulation) -> None:
    assert Order.objects.exists()
    assert api.backfill_orders() == 0
    oldest = built.start + timedelta(days=building.DAYS - building.hostrows.ORDER_ROWS_DAYS)
    assert not Order.objects.filter(placed_at__lt=oldest).exists()
    wrong = 0
    for order in Order.objects.prefetch_related("lines"):
        lines = sum(line.total_minor - line.discount_minor for line in order.lines.all())
        wrong += lines != order.total_minor
    assert wrong == 0
    assert not OrderLine.objects.filter(discount_minor__gt=F("quantity") * F("unit_price_minor")).exists()


def test_campaigns_run_in_every_slot_and_the_next_wave_waits(built: building.Simulation) -> None:
    running = Campaign.objects.filter(status="running", delivery="on_page")
    slots: dict[str, set[str]] = {}
    for campaign in running:
        for offer in campaign.offers.all():
            for slot in offer.slots:
                slots.setdefault(slot, set()).add(offer.kind)
    assert set(slots) == {"home_hero", "product_page", "basket"}
    assert all(len(kinds) >= 3 for kinds in slots.values())
    draft = Campaign.objects.get(pk=built.info.truth["next_wave"]["campaign"])
    assert (draft.status, draft.delivery) == ("draft", "sent")
    assert Campaign.objects.filter(status="ended", delivery="sent").count() == len(built.world.waves)


def test_the_wave_happens_once_as_the_simulator_expects(built: building.Simulation) -> None:
    campaign = api.find_campaign(built.info.truth["next_wave"]["campaign"])
    assert campaign is not None
    before = Event.objects.count()
    new = future.run_wave(built, campaign)
    assert new == Exposure.objects.filter(campaign=campaign).count() > 0
    assert Event.objects.count() > before + new
    assert future.run_wave(built, campaign) == 0
    assert campaign.status == "ended"
    expected = built.info.truth["expected"]
    treated = Exposure.objects.filter(campaign=campaign, arm="treatment")
    assert treated.count() == new == expected["audience"]["mean"]
    assert treated.filter(viewed_at__isnull=False).count() == pytest.approx(expected["views"]["mean"], rel=0.25)
    redeemed = treated.filter(redeemed_at__isnull=False)
    assert not redeemed.filter(redeemed_at__gt=F("window_ends_at")).exists()
    placed = set(Event.objects.filter(type="order_placed").values_list("shopper", "occurred_at"))
    assert set(redeemed.values_list("shopper", "redeemed_at")) <= placed
