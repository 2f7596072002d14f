"""What a worker may read: consenting people's past, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from django.utils import timezone

from personalization.features.frames import NEVER, STREAM_TYPES, TYPE_CODE, Frames, milliseconds
from personalization.learning import frames
from personalization.models import Campaign, CatalogItem, Event, Exposure, Offer, Shopper, ShopperAlias
from personalization.tracking import secrets
from personalization.types import Arm
from tests.support import build

pytestmark = pytest.mark.django_db
UNTIL = datetime(2026, 5, 1, 12, tzinfo=UTC)
CUT = milliseconds(UNTIL)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
SILENT: list[dict[str, Any]] = [{"consent_personalisation": False}, {"is_bot": True}, {"population": "games"}]


def load(until: datetime = UNTIL, population: str = "shop") -> Frames:
    return frames.load(population, until)


def event(shopper: Shopper, at: datetime, kind: str = "product_viewed", **fields: Any) -> Event:
    number = Event.objects.count()
    return Event.objects.create(source="t", event_id=str(number), type=kind, shopper=shopper, occurred_at=at, **fields)


def expose(shopper: Shopper, offer: Offer | None, at: datetime, **fields: Any) -> Exposure:
    return Exposure.objects.create(
        shopper=shopper, offer=offer, exposed_at=at, window_ends_at=at + 7 * DAY,
        arm=(Arm.CONTROL if offer is None else Arm.TREATMENT).value, **fields,
    )  # fmt: skip


def item(item_id: str, **fields: Any) -> CatalogItem:
    return CatalogItem.objects.create(item_id=item_id, label="t", title=item_id, **fields)


@pytest.fixture
def person() -> Shopper:
    return build.shopper(attributes={"age": 30}, joined_at=UNTIL - 30 * DAY)


def test_nothing_after_until_is_read(person: Shopper) -> None:
    for at in (UNTIL - HOUR, UNTIL, UNTIL + timedelta(milliseconds=1), UNTIL + HOUR):
        event(person, at)
        event(person, at, "order_placed", properties={"lines": [{"item_id": "1", "quantity": 2}]})
        expose(person, build.offer(), at)
    item("1")
    found = load()
    assert found.until == CUT
    assert len(found.events) == 6  # two views, two orders, two offers shown
    assert len(found.exposures) == 2
    assert len(found.lines.time) == 2
    for times in (found.events.time, found.exposures.time, found.lines.time):
        assert times.max() == CUT
    assert found.start == CUT - 3_600_000


def test_outcomes_after_until_have_not_happened(person: Shopper) -> None:
    offer = build.offer()
    early, late = UNTIL - HOUR, UNTIL + HOUR
    expose(
        person, offer, UNTIL - DAY, viewed_at=early, clicked_at=UNTIL, redeemed_at=late, purchased_at=late,
        revenue_minor=5000, cost_minor=500, propensity=0.25,
    )  # fmt: skip
    row = load().exposures
    assert (row.viewed[0], row.clicked[0]) == (milliseconds(early), CUT)
    assert (row.redeemed[0], row.purchased[0]) == (NEVER, NEVER)
    assert (row.revenue[0], row.cost[0]) == (0, 0)  # nor has their money been seen
    assert row.propensity[0] == 0.25
    later = load(UNTIL + DAY).exposures
    assert (later.revenue[0], later.cost[0], later.redeemed[0]) == (50, 5, milliseconds(late))


@pytest.mark.parametrize("fields", SILENT)
def test_people_who_may_not_be_learnt_from_are_not_read(fields: dict[str, Any], person: Shopper) -> None:
    other = build.shopper(**fields)
    for shopper in (person, other):
        event(shopper, UNTIL - HOUR)
        expose(shopper, build.offer(), UNTIL - HOUR)
    found = load()
    assert found.shoppers.ids.tolist() == [person.pk]
    assert len(found.events) == 2
    assert len(found.exposures) == 1
    assert set(found.events.shopper.tolist()) == {0}


def test_a_merged_shopper_is_not_read(person: Shopper) -> None:
    event(build.shopper(merged_into=person), UNTIL - HOUR)
    assert load().shoppers.ids.tolist() == [person.pk]
    assert len(load().events) == 0


def test_an_event_that_looks_like_a_bots_is_not_read(person: Shopper) -> None:
    event(person, UNTIL - HOUR, is_bot=True)
    assert len(load().events) == 0


def test_contract_events_are_no_features(person: Shopper) -> None:
    for kind in ("order_refunded", "coupon_claimed", "something_new"):
        event(person, UNTIL - HOUR, kind)
    assert len(load().events) == 0


def test_what_was_shown_comes_from_the_exposures_alone(person: Shopper) -> None:
    offer = build.offer()
    event(person, UNTIL - HOUR, "offer_shown", offer=offer)
    expose(person, offer, UNTIL - HOUR)
    expose(person, None, UNTIL - 2 * HOUR)
    found = load()
    assert found.events.type.tolist() == [TYPE_CODE["offer_shown"]]
    assert found.events.offer.tolist() == [0]
    assert found.exposures.offer.tolist() == [-1, 0]


def test_an_offer_shown_again_within_a_day_is_one_exposure(person: Shopper) -> None:
    offer, other = build.offer(), build.offer()
    start = UNTIL - 3 * DAY
    expose(person, offer, start, clicked_at=start + 5 * HOUR)
    expose(person, offer, start + HOUR, viewed_at=start + 2 * HOUR, clicked_at=start + 2 * HOUR)
    expose(person, other, start + HOUR)
    expose(person, offer, start + DAY, viewed_at=start + DAY + HOUR)  # a day later: another one
    found = load().exposures
    assert found.time.tolist() == [milliseconds(start), milliseconds(start + HOUR), milliseconds(start + DAY)]
    assert (found.viewed[0], found.clicked[0]) == (milliseconds(start + 2 * HOUR),) * 2
    assert found.viewed[1] == NEVER


def test_the_stream_is_sorted_by_shopper_and_time(person: Shopper) -> None:
    other = build.shopper()
    for hours in (5, 1, 3):
        for shopper in (other, person):
            event(shopper, UNTIL - hours * HOUR)
            expose(shopper, build.offer(), UNTIL - (hours + 1) * HOUR)
    found = load().events
    keys = list(zip(found.shopper.tolist(), found.time.tolist(), strict=True))
    assert keys == sorted(keys)
    assert len(keys) == 12


def test_items_categories_offers_and_money(person: Shopper) -> None:
    item("a", category="shoes", price_minor=1999, currency="EUR")
    item("b", category="books", visible=False)
    item("c", category="tea", population="games")
    campaign = build.campaign()
    offer = build.offer(
        campaign, amount_minor=500, threshold_minor=2000, category="shoes", tiers=["gold"],
        attributes={"web": 1, "social": 0, "duration_hours": 48, "external_id": "x"},
    )  # fmt: skip
    build.offer(build.campaign(population="games"))
    share = build.offer(campaign, percent=20, max_discount_minor=1000)
    event(person, UNTIL - HOUR, item_id="a")  # its category is the item's
    event(person, UNTIL, "order_placed", value_minor=1999, item_id="unknown", category="books")
    found = load()
    assert (found.categories, found.items.ids, found.digits) == (["books", "shoes"], ["a", "b"], 2)
    assert found.items.price[0] == 19.99
    assert np.isnan(found.items.price[1])
    assert found.items.visible.tolist() == [True, False]
    assert found.offers.ids.tolist() == [offer.pk, share.pk]
    assert found.offers.amount.tolist() == [5, 0]
    assert found.offers.threshold.tolist() == [20, 0]
    assert found.offers.percent.tolist() == [0, 20]
    assert found.offers.max_discount.tolist() == [np.inf, 10]
    assert found.offers.category.tolist() == [1, -1]
    assert found.offers.hours[0] == 48
    assert np.isnan(found.offers.hours[1])
    assert found.offers.channels.tolist() == [[1, 0, 0], [0, 0, 0]]
    assert found.offers.members_only.tolist() == [1, 0]
    assert found.offers.external == ["x", ""]
    assert found.events.category.tolist() == [1, 0]
    assert found.events.item.tolist() == [0, -1]
    assert found.events.value.tolist() == [0, 19.99]


@pytest.mark.parametrize("hours", ["48", "long", None, [48], {}, True, 10**400, 48])
def test_an_offer_s_hours_that_are_no_number_are_unknown(person: Shopper, hours: Any) -> None:
    build.offer(attributes={"duration_hours": hours})
    np.testing.assert_array_equal(load().offers.hours, [48.0 if type(hours) is int and hours == 48 else np.nan])


def test_a_coupon_s_own_hours_come_before_those_an_import_noted(person: Shopper) -> None:
    build.offer(valid_hours=72, attributes={"duration_hours": 48})
    assert load().offers.hours.tolist() == [72]


def test_a_currency_without_cents() -> None:
    build.offer(build.campaign(currency="JPY"), amount_minor=500)
    found = load()
    assert (found.digits, found.offers.amount[0]) == (0, 500)


def test_order_lines_name_known_products(person: Shopper) -> None:
    item("a")
    lines = [{"item_id": "a", "quantity": 3}, {"item_id": "gone"}, "nonsense", {"item_id": "a"}]
    event(person, UNTIL - HOUR, "order_placed", properties={"lines": lines})
    event(person, UNTIL - 2 * HOUR, "order_placed", properties={"lines": None})
    found = load().lines
    assert found.item.tolist() == [0, 0]
    assert found.quantity.tolist() == [3, 1]


def test_when_people_joined(person: Shopper, settings: Any) -> None:
    """In the host's own population somebody is known since their first visit; imported rows say or do not say."""
    visitor = build.shopper(joined_at=None, created_at=UNTIL - DAY)
    build.shopper(joined_at=None, population="games")
    assert load().shoppers.joined.tolist() == [milliseconds(UNTIL - 30 * DAY), milliseconds(visitor.created_at)]
    assert load(population="games").shoppers.joined.tolist() == [NEVER]
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "POPULATION": "games"}
    assert load(population="games").shoppers.joined.tolist() != [NEVER]


def test_an_empty_population_is_empty() -> None:
    found = load(population="nobody")
    assert len(found.shoppers) == len(found.events) == len(found.exposures) == len(found.offers) == 0
    assert len(found.lines.shopper) == 0
    assert found.start == found.until == CUT
    assert frames.last_moment("nobody") is None


def test_nothing_is_learnt_beyond_what_can_be_known(person: Shopper) -> None:
    """An offer that is still open would be learnt from as one that nobody took."""
    assert frames.learnt_until("nobody", None) is None
    for shopper in (person, build.shopper(population="games")):
        event(shopper, UNTIL)
    for who in ("shop", "games"):
        assert frames.learnt_until(who, None) == UNTIL
        assert frames.learnt_until(who, UNTIL - DAY) == UNTIL - DAY
    # of the shop's own, a quiet day is known, tomorrow is not; in an imported set time stands still
    assert frames.learnt_until("shop", UNTIL + DAY) == UNTIL + DAY
    tomorrow = timezone.now() + DAY
    until = frames.learnt_until("shop", tomorrow)
    assert until is not None
    assert until < tomorrow
    assert frames.learnt_until("games", UNTIL + DAY) == UNTIL


def test_the_last_moment_is_the_populations_own(person: Shopper) -> None:
    event(person, UNTIL)
    event(person, UNTIL - HOUR)
    event(build.shopper(population="games"), UNTIL + DAY)
    assert frames.last_moment("shop") == UNTIL
    assert frames.last_moment("games") == UNTIL + DAY


def test_what_can_still_be_had_is_scored() -> None:
    running = build.offer()
    draft = build.offer(build.campaign(status=Campaign.Status.DRAFT))
    for status in (Campaign.Status.ENDED, Campaign.Status.ARCHIVED):
        build.offer(build.campaign(status=status))
    build.offer(build.campaign(population="games"))
    assert frames.offers_to_score("shop") == [running.pk, draft.pk]


def test_a_campaign_is_told_with_whom_it_may_address(person: Shopper) -> None:
    silver = build.shopper(attributes={"age": 70}, consent_marketing=False)
    build.shopper(attributes={"age": 20}, consent_personalisation=False)
    young = build.campaign(audience={"all": [{"field": "age", "op": "<=", "value": 40}]}, attribution_hours=48)
    offer = build.offer(young, tiers=["gold", "silver"])
    found = frames.campaign_brief(young.pk, UNTIL)
    assert found is not None
    assert (found.audience, found.attribution_hours, found.days, found.sent) == ([person.pk], 48, 2.0, False)
    assert found.tiers == {offer.pk: frozenset({"gold", "silver"})}
    everybody, sent = build.campaign(), build.campaign(delivery=Campaign.Delivery.SENT)
    for campaign, audience in ((everybody, [person.pk, silver.pk]), (sent, [person.pk])):
        brief = frames.campaign_brief(campaign.pk, UNTIL)
        assert brief is not None
        assert brief.audience == audience
        assert brief.attribution_hours == 168
    assert frames.campaign_brief(0, UNTIL) is None


def test_imported_people_keep_their_own_ids(person: Shopper) -> None:
    ShopperAlias.objects.create(shopper=person, kind=ShopperAlias.Kind.EXTERNAL, value="shop:c-1")
    ShopperAlias.objects.create(shopper=person, kind=ShopperAlias.Kind.VISITOR, value="cookie")
    assert frames.external_ids("shop") == {person.pk: "shop:c-1"}
    assert frames.external_ids("games") == {}


def test_outside_the_shops_people_have_pseudonyms_and_imported_ones_their_ids(person: Shopper) -> None:
    imported = Shopper.objects.create(population="games")
    ShopperAlias.objects.create(shopper=person, kind=ShopperAlias.Kind.EXTERNAL, value="shop:c-1")
    ShopperAlias.objects.create(shopper=imported, kind=ShopperAlias.Kind.EXTERNAL, value="games:7")
    assert frames.names_outside("shop") == {person.pk: secrets.pseudonym(person.key.hex)}
    assert frames.names_outside("games") == {imported.pk: "7"}


def test_simulated_data_is_known_as_such(person: Shopper) -> None:
    build.offer()
    assert not load().simulated
    build.offer(attributes={"simulated": True})
    assert load().simulated
    assert not load(population="games").simulated


def test_the_stream_knows_no_private_types() -> None:
    """Ledger and consent never become features: the declared stream is behaviour and offers only."""
    assert not {"order_refunded", "coupon_claimed"} & set(STREAM_TYPES)
