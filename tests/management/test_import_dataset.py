"""The importers, on small data sets: what each row becomes, once, whatever happens in between."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from django.core.management import CommandError, call_command

from personalization.management.datasets import sink, tables
from personalization.management.datasets.complete_journey_frames import midpoint
from personalization.management.datasets.report import Terminal
from personalization.models import (
    Campaign,
    CatalogItem,
    ConsentRecord,
    Event,
    EventClaim,
    Exposure,
    Offer,
    Shopper,
    ShopperAlias,
)
from tests.management import parquet_sets
from tests.management.parquet_sets import BOGO, DISCOUNT, NEWS

pytestmark = pytest.mark.django_db
ORIGIN = datetime(2018, 7, 26, tzinfo=UTC)


def run(dataset: str, folder: Path, **options: Any) -> str:
    """Import and return what was printed."""
    out = io.StringIO()
    call_command("import_dataset", dataset, str(folder), stdout=out, **options)
    return out.getvalue()


def shopper(external_id: str) -> Shopper:
    return ShopperAlias.objects.get(kind=ShopperAlias.Kind.EXTERNAL, value=external_id).shopper


def exposure_of(person: str, wave: int) -> Exposure:
    return Exposure.objects.get(
        shopper=shopper(f"starbucks_offers:{person}"), exposed_at=ORIGIN + timedelta(hours=wave)
    )


def contents() -> dict[str, list[tuple[Any, ...]]]:
    """Everything that an import stores, without primary keys and the clock."""
    return {
        "shoppers": sorted(ShopperAlias.objects.values_list("value", "shopper__population")),
        "consents": sorted(ConsentRecord.objects.values_list("shopper__aliases__value", "purpose")),
        "items": sorted(CatalogItem.objects.values_list("item_id", "title", "price_minor")),
        "offers": sorted(Offer.objects.values_list("campaign__name", "name")),
        "events": sorted(
            Event.objects.values_list("source", "event_id", "type", "shopper__aliases__value", "occurred_at")
        ),
        "exposures": sorted(
            Exposure.objects.values_list("source", "source_row", "shopper__aliases__value", "revenue_minor")
        ),
    }


WRITERS = {
    "starbucks_offers": parquet_sets.starbucks,
    "online_retail_ii": parquet_sets.online_retail,
    "complete_journey": parquet_sets.complete_journey,
}
every_set = pytest.mark.parametrize("dataset", WRITERS)


class TestStarbucks:
    @pytest.fixture(autouse=True)
    def printed(self, tmp_path: Path) -> str:
        return run("starbucks_offers", parquet_sets.starbucks(tmp_path))

    def test_it_says_that_the_set_is_simulated(self, printed: str) -> None:
        assert "SIMULATED" in printed

    def test_customers_become_shoppers_with_consent(self) -> None:
        ann, bob = shopper("starbucks_offers:ann"), shopper("starbucks_offers:bob")
        assert ann.attributes == {"age": 55, "gender": "F", "income": 112000.0}
        assert bob.attributes == {"age": None, "gender": None, "income": None}
        assert ann.joined_at == datetime(2017, 7, 15, tzinfo=UTC)
        assert bob.joined_at is not None
        assert bob.joined_at <= ORIGIN
        assert set(ann.consents.values_list("purpose", "granted", "source")) == {
            ("analytics", True, "data set"),
            ("personalisation", True, "data set"),
        }
        assert not ann.consent_marketing

    def test_the_portfolio_becomes_one_ended_campaign(self) -> None:
        campaign = Campaign.objects.get()
        assert (campaign.status, campaign.population) == ("ended", "starbucks_offers")
        assert campaign.attribution_hours == 138
        offers = {offer.attributes["external_id"]: offer for offer in campaign.offers.all()}
        assert [offers[key].kind for key in (BOGO, DISCOUNT, NEWS)] == ["coupon", "spend_threshold", "announcement"]
        assert (offers[DISCOUNT].amount_minor, offers[DISCOUNT].threshold_minor) == (200, 1200)
        bogo = offers[BOGO].attributes
        assert (bogo["duration_hours"], bogo["web"], bogo["mobile"], bogo["offer_type"]) == (168, 1, 0, "bogo")

    def test_rows_become_events_at_their_hour(self) -> None:
        assert Event.objects.count() == 15
        sale = Event.objects.get(event_id="4")
        assert (sale.type, sale.value_minor, sale.occurred_at) == ("order_placed", 1250, ORIGIN)
        assert sale.properties["seq"] == 4
        redeemed = Event.objects.get(event_id="5")
        assert (redeemed.type, redeemed.value_minor) == ("coupon_redeemed", 1000)
        assert redeemed.offer is not None
        assert redeemed.offer.attributes["external_id"] == BOGO

    def test_rows_that_repeat_exactly_are_data(self) -> None:
        assert Event.objects.filter(occurred_at=ORIGIN + timedelta(hours=200)).count() == 2

    def test_outcomes_of_the_receipts_own_hour_count(self) -> None:
        ann = exposure_of("ann", 0)
        assert ann.viewed_at == ann.redeemed_at == ann.purchased_at == ORIGIN
        assert (ann.revenue_minor, ann.cost_minor, ann.propensity) == (1250, 1000, 0.1)
        assert ann.clicked_at is None

    def test_the_window_is_the_duration_but_at_most_138_hours(self) -> None:
        assert exposure_of("cyd", 0).window_ends_at == ORIGIN + timedelta(hours=72)
        assert exposure_of("cyd", 0).viewed_at is None
        bob = exposure_of("bob", 0)
        assert bob.redeemed_at == bob.window_ends_at == ORIGIN + timedelta(hours=138)
        assert exposure_of("bob", 168).redeemed_at is None

    def test_who_received_nothing_is_the_waves_control(self) -> None:
        controls = Exposure.objects.filter(arm="control")
        assert sorted(controls.values_list("source_row", flat=True)) == ["c0:3", "c168:2", "c168:3"]
        assert set(controls.values_list("offer", "propensity", "redeemed_at")) == {(None, None, None)}
        dan = exposure_of("dan", 168)
        assert (dan.revenue_minor, dan.purchased_at) == (200, ORIGIN + timedelta(hours=200))


class TestOnlineRetail:
    @pytest.fixture(autouse=True)
    def printed(self, tmp_path: Path) -> str:
        return run("online_retail_ii", parquet_sets.online_retail(tmp_path))

    def test_an_invoice_becomes_one_order_with_all_its_lines(self) -> None:
        order = Event.objects.get(properties__order_id="500001")
        assert (order.event_id, order.type, order.value_minor) == ("0", "order_placed", 2 * 250 + 1800)
        assert order.occurred_at == datetime(2010, 1, 4, 9, 0, tzinfo=UTC)
        mug = {"item_id": "online_retail_ii:10001", "quantity": 2, "unit_price_minor": 125, "category": ""}
        assert order.properties["lines"][:2] == [mug, mug]

    def test_a_cancellation_becomes_a_refund(self) -> None:
        refund = Event.objects.get(type="order_refunded")
        assert (refund.value_minor, refund.properties["order_id"]) == (125, "C500005")
        assert refund.shopper == shopper("online_retail_ii:17")

    def test_a_customer_without_number_is_a_guest_of_the_invoice(self) -> None:
        guest = Event.objects.get(properties__order_id="500002").shopper
        assert guest == shopper("online_retail_ii:guest-500002")
        assert Shopper.objects.count() == 3

    def test_the_latest_country_and_description_and_the_median_price_are_kept(self) -> None:
        assert shopper("online_retail_ii:17").attributes == {"country": "Germany"}
        items = {item.item_id.split(":")[1]: item for item in CatalogItem.objects.all()}
        assert (items["10001"].title, items["10001"].price_minor) == ("MUG, BLUE", 125)
        assert (items["10002"].title, items["10002"].price_minor) == ("BOWL", 275)
        assert items["10001"].visible
        assert not items["POST"].visible

    def test_every_line_that_is_set_aside_is_counted(self, printed: str) -> None:
        for reason in ("they adjust bad debt", "positive in a cancellation", "zero or less", "they have no price"):
            line = next(line for line in printed.splitlines() if reason in line)
            assert line.startswith("Lines set aside: 1, because")


class TestCompleteJourney:
    @pytest.fixture(autouse=True)
    def printed(self, tmp_path: Path) -> str:
        return run("complete_journey", parquet_sets.complete_journey(tmp_path))

    def test_demographic_bands_become_numbers(self) -> None:
        attributes = shopper("complete_journey:7").attributes
        assert (attributes["age"], attributes["age_band"], attributes["income"]) == (40, "35-44", 7500)
        assert (attributes["household_size"], attributes["kids"], attributes["home_ownership"]) == (5, 3, None)
        assert shopper("complete_journey:30").attributes["age"] is None

    def test_lines_are_grouped_to_baskets(self, printed: str) -> None:
        basket = Event.objects.get(type="order_placed", properties__order_id="b1")
        assert (basket.event_id, basket.value_minor, basket.properties["discount_minor"]) == ("0", 850, 100)
        assert [line["unit_price_minor"] for line in basket.properties["lines"]] == [250, 350]
        assert basket.properties["lines"][0]["category"] == "CHEESE"
        assert not Event.objects.filter(properties__order_id="b3").exists()
        assert "Lines set aside: 1, because they have no quantity" in printed

    def test_fuel_counts_as_one_unit(self) -> None:
        fuel = Event.objects.get(properties__order_id="b2").properties["lines"][0]
        assert (fuel["quantity"], fuel["unit_price_minor"]) == (1, 2715)

    def test_a_product_without_price_or_name_is_hidden(self) -> None:
        visible = dict(CatalogItem.objects.values_list("item_id", "visible"))
        assert visible["complete_journey:p1"]
        assert not visible["complete_journey:p9"]
        assert CatalogItem.objects.get(item_id="complete_journey:p1").price_minor == 255
        assert CatalogItem.objects.get(item_id="complete_journey:p1").title == "CHEDDAR 8 OZ"

    def test_campaigns_carry_what_is_known_of_their_coupons(self) -> None:
        campaign = Campaign.objects.get(name__contains="campaign 1 ")
        assert campaign.ends_at == datetime(2017, 4, 1, tzinfo=UTC)
        offer = campaign.offers.get()
        assert offer.amount_minor == 60
        assert offer.attributes["face_value_basis"] == "median of all 1 discounted lines"
        assert (offer.attributes["coupons"], offer.attributes["products"]) == (1, 2)
        assert offer.attributes["coupon_rows"] == 3
        assert offer.attributes["top_categories"] == ["CHEESE"]

    def test_who_got_a_campaign_is_exposed_until_its_end(self) -> None:
        seven = Exposure.objects.get(source_row="0")
        assert seven.redeemed_at == datetime(2017, 3, 9, tzinfo=UTC)
        assert seven.purchased_at == datetime(2017, 3, 31, 18, tzinfo=UTC)
        assert (seven.revenue_minor, seven.cost_minor, seven.propensity) == (850, 120, None)
        twelve = Exposure.objects.get(source_row="2")
        assert (twelve.redeemed_at, twelve.revenue_minor) == (None, 2915)
        assert Event.objects.filter(type="coupon_redeemed").count() == 2
        assert Event.objects.filter(type="offer_shown").count() == 3


@every_set
def test_a_second_import_adds_nothing_and_says_so(dataset: str, tmp_path: Path) -> None:
    folder = WRITERS[dataset](tmp_path)
    first = run(dataset, folder)
    before = contents()
    again = run(dataset, folder)
    assert contents() == before
    assert "Nothing new" in again
    assert "Nothing new" not in first


@every_set
@pytest.mark.parametrize("verb", ["upsert_shoppers", "store_events", "record_exposures"])
def test_a_killed_import_completes_when_it_is_run_again(
    dataset: str, verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = WRITERS[dataset](tmp_path)
    monkeypatch.setattr(sink, "BATCH", 1)
    real, calls = getattr(sink, verb), 0

    def dies_at_the_second_call(rows: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise SystemExit
        return real(rows)

    with monkeypatch.context() as patched:
        patched.setattr(sink, verb, dies_at_the_second_call)
        if verb != "record_exposures" or dataset != "online_retail_ii":
            with pytest.raises(SystemExit):
                run(dataset, folder)
    run(dataset, folder)
    resumed = contents()
    assert "Nothing new" in run(dataset, folder)
    for model in (Event, EventClaim, Exposure, CatalogItem, Campaign, Shopper):
        model._default_manager.all().delete()
    run(dataset, folder)
    assert contents() == resumed


@every_set
def test_parts_and_their_size_do_not_show(dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = WRITERS[dataset](tmp_path)
    run(dataset, folder)
    whole = contents()
    monkeypatch.setattr(tables, "PART", 2)
    monkeypatch.setattr(tables, "CHUNK", 3)
    for model in (Event, EventClaim, Exposure, CatalogItem, Campaign, Shopper):
        model._default_manager.all().delete()
    run(dataset, folder)
    assert contents() == whole


@every_set
def test_a_limited_import_is_the_start_of_the_whole(dataset: str, tmp_path: Path) -> None:
    folder = WRITERS[dataset](tmp_path)
    run(dataset, folder, limit=1)
    assert Shopper.objects.count() == 1
    part = contents()
    run(dataset, folder)
    whole = contents()
    assert set(part["events"]) < set(whole["events"])
    assert "Nothing new" in run(dataset, folder)


@pytest.mark.parametrize(
    ("band", "middle"),
    [("35-44", 40), ("65+", 65), ("35-49K", 42_500), ("Under 15K", 7_500), ("250K+", 250_000), ("2", 2), (None, None)],
)
def test_the_middle_of_a_band(band: str | None, middle: float | None) -> None:
    assert midpoint(band) == middle


class TestRefusals:
    """One sentence that says what to do, and not a row written."""

    def refused(self, dataset: str, folder: Path, **options: Any) -> str:
        with pytest.raises(CommandError) as caught:
            run(dataset, folder, **options)
        assert not Shopper.objects.exists()
        assert not Campaign.objects.exists()
        assert not Event.objects.exists()
        message = str(caught.value)
        assert "\n" not in message
        return message

    def test_an_unknown_data_set(self, tmp_path: Path) -> None:
        assert "Choose one of: starbucks_offers" in self.refused("criteo", tmp_path)

    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        assert "There is no folder" in self.refused("starbucks_offers", tmp_path / "nowhere")

    def test_the_wrong_folder(self, tmp_path: Path) -> None:
        parquet_sets.online_retail(tmp_path)
        assert "“portfolio.parquet” is missing" in self.refused("starbucks_offers", tmp_path)

    def test_a_truncated_file(self, tmp_path: Path) -> None:
        path = parquet_sets.starbucks(tmp_path) / "transcript.parquet"
        path.write_bytes(path.read_bytes()[:-100])
        assert "Fetch this file again" in self.refused("starbucks_offers", tmp_path)

    def test_a_file_with_damaged_pages(self, tmp_path: Path) -> None:
        path = parquet_sets.starbucks(tmp_path) / "transcript.parquet"
        content = path.read_bytes()
        path.write_bytes(content[:8] + b"\xff" * 120 + content[128:])
        assert "cannot be read" in self.refused("starbucks_offers", tmp_path)

    def test_a_column_that_is_missing(self, tmp_path: Path) -> None:
        wrong = pl.DataFrame({"id": ["ann"], "age": [3]})
        assert "no column “gender”" in self.refused("starbucks_offers", parquet_sets.starbucks(tmp_path, profile=wrong))

    def test_a_column_of_another_type(self, tmp_path: Path) -> None:
        folder = parquet_sets.starbucks(tmp_path)
        wrong = pl.read_parquet(folder / "transcript.parquet").with_columns(pl.col("time_h").cast(pl.String))
        parquet_sets.write(folder, transcript=wrong)
        assert "holds String, not whole numbers" in self.refused("starbucks_offers", folder)

    def test_a_cell_that_is_empty(self, tmp_path: Path) -> None:
        folder = parquet_sets.starbucks(tmp_path)
        wrong = pl.read_parquet(folder / "transcript.parquet").with_columns(person=pl.lit(None, dtype=pl.String))
        parquet_sets.write(folder, transcript=wrong)
        assert "15 cells without a value" in self.refused("starbucks_offers", folder)

    def test_a_file_without_rows(self, tmp_path: Path) -> None:
        folder = parquet_sets.starbucks(tmp_path)
        parquet_sets.write(folder, transcript=pl.read_parquet(folder / "transcript.parquet").head(0))
        assert "holds no rows" in self.refused("starbucks_offers", folder)

    def test_files_that_do_not_belong_together(self, tmp_path: Path) -> None:
        folder = parquet_sets.starbucks(tmp_path)
        parquet_sets.write(folder, profile=pl.read_parquet(folder / "profile.parquet").head(2))
        assert "customers missing from the profile" in self.refused("starbucks_offers", folder)

    def test_a_campaign_that_nobody_described(self, tmp_path: Path) -> None:
        folder = parquet_sets.complete_journey(tmp_path)
        described = pl.read_parquet(folder / "campaign_descriptions.parquet")
        parquet_sets.write(folder, campaign_descriptions=described.head(1))
        assert "campaigns.parquet names a campaign" in self.refused("complete_journey", folder)

    def test_a_limit_of_nobody(self, tmp_path: Path) -> None:
        assert "--limit must be 1 or more" in self.refused("starbucks_offers", tmp_path, limit=0)

    def test_polars_is_not_installed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            "personalization.management.datasets.import_module",
            lambda name: (_ for _ in ()).throw(ModuleNotFoundError("No module named 'polars'", name="polars")),
        )
        assert "pip install 'personalization[import]'" in self.refused("starbucks_offers", tmp_path)


def test_progress_is_plain_lines_or_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    for interactive in (False, True):
        with Terminal(lines.append, interactive=interactive).stage("orders", 4) as advance:
            advance(4)
    assert lines == ["orders: 4 / 4"]
    assert "orders" in capsys.readouterr().out
