"""The Starbucks rewards test, **simulated by its authors**: offers sent, viewed and completed; purchases.

One campaign carries the portfolio's ten offers. Each wave sends about three customers in four one offer,
drawn uniformly among the ten: so a treatment exposure's propensity is 0.1 *given that something was sent*.
Who received nothing in a wave is its control; the probability of withholding is not stated and left empty.

An outcome counts from its receipt (a later row of the same hour included) to the end of the window, that hour
included: the offer's duration, at most 138 hours. When an offer is received again within the window of the
first receipt, one completion counts for both: the label asks for no more than a completion in the window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from personalization.management.datasets.base import CONSENT_SOURCE, PURPOSES, DatasetImporter, minor
from personalization.management.datasets.report import Summary
from personalization.management.datasets.sink import Sink, StoredCampaign
from personalization.management.datasets.tables import Column, Kind, collect, parts, require
from personalization.models import Campaign
from personalization.types import Arm, EventData, ExposureData, OfferKind, ShopperData

ORIGIN = datetime(2018, 7, 26, tzinfo=UTC)
"""Hour 0. The set tells hours only; on this day its last customers joined, so no tenure is negative."""
ATTRIBUTION_HOURS = 138
MOST_HOURS = 100 * 366 * 24
PROPENSITY = 0.1
UNKNOWN_AGE = 118
CURRENCY = "USD"
CHANNELS = ("web", "email", "mobile", "social")
KINDS = {
    "bogo": OfferKind.COUPON,
    "discount": OfferKind.SPEND_THRESHOLD,
    "informational": OfferKind.ANNOUNCEMENT,
}
RECEIVED, VIEWED, COMPLETED, TRANSACTION = "offer received", "offer viewed", "offer completed", "transaction"
EVENT_TYPES = {
    RECEIVED: "offer_shown",
    VIEWED: "offer_viewed",
    COMPLETED: "coupon_redeemed",
    TRANSACTION: "order_placed",
}


class Importer(DatasetImporter):
    """Reads portfolio, profile and transcript."""

    name = "starbucks_offers"
    title = "Starbucks offers"
    notice = gettext_lazy("This data set was SIMULATED by its authors. Say so wherever a figure from it is quoted.")
    files = {
        "portfolio.parquet": {
            "id": Column(Kind.TEXT),
            "offer_type": Column(Kind.TEXT),
            "reward": Column(Kind.NUMBER),
            "difficulty": Column(Kind.NUMBER),
            "duration": Column(Kind.INTEGER),
            "channels": Column(Kind.TEXTS),
        },
        "profile.parquet": {
            "id": Column(Kind.TEXT),
            "age": Column(Kind.INTEGER, optional=True),
            "gender": Column(Kind.TEXT, optional=True),
            "income": Column(Kind.NUMBER, optional=True),
            "became_member_on": Column(Kind.INTEGER),
        },
        "transcript.parquet": {
            "person": Column(Kind.TEXT),
            "event": Column(Kind.TEXT),
            "time_h": Column(Kind.INTEGER),
            "offer_id": Column(Kind.TEXT, optional=True),
            "amount": Column(Kind.NUMBER, optional=True),
            "reward": Column(Kind.NUMBER, optional=True),
            "seq": Column(Kind.INTEGER),
        },
    }

    def check(self) -> None:
        self.portfolio = collect(portfolio(self.tables["portfolio"].frame))
        self.people = collect(people(self.tables["profile"].frame))
        self.transcript = transcript(self.tables["transcript"].frame)
        refuse_contradictions(self.portfolio, self.people, self.transcript)
        if self.limit:
            self.people = self.people.head(self.limit)
            self.transcript = self.transcript.join(self.people.lazy(), on="person", how="semi")
        self.counts: dict[str, int] = dict(collect(self.transcript.group_by("event").len()).iter_rows())
        received = self.transcript.filter(pl.col("event") == RECEIVED).select("person", "time_h").unique()
        receipts = collect(received)
        self.waves: list[int] = receipts["time_h"].unique().sort().to_list()
        self.controls = self.people.height * len(self.waves) - receipts.height
        require(bool(self.waves), _("Nobody received an offer in transcript.parquet. Fetch this file again."))

    def write(self, sink: Sink) -> None:
        table = self.tables["transcript"]
        source = table.source(self.name)
        campaign = self._campaign(sink)
        shoppers = sink.shoppers(map(self._shopper, self.people.iter_rows(named=True)), total=self.people.height)
        ids = Ids(source, self.identifier, shoppers, campaign)
        for thing, types in (
            (_("orders"), [TRANSACTION]),
            (_("offer events"), [RECEIVED, VIEWED, COMPLETED]),
        ):
            sink.events(
                thing,
                source,
                (part.filter(pl.col("event").is_in(types)) for part in self._parts()),
                ids.events,
                total=sum(self.counts.get(event, 0) for event in types),
            )
        sink.exposures(source, self._exposures(), ids.exposures, total=self.counts[RECEIVED] + self.controls)
        self._conclude(sink.summary)

    def _conclude(self, summary: Summary) -> None:
        hours = self.transcript.select(pl.col("time_h").min(), pl.col("time_h").max().alias("last"))
        first, last = collect(hours).row(0)
        summary.period = (moment(first), moment(last))
        received = self.transcript.filter(pl.col("event") == RECEIVED).join(self.portfolio.lazy(), on="offer_id")
        cut_off = collect(received.select((pl.col("time_h") + pl.col("window_h") > last).sum())).item()
        summary.notes += [
            _("Hour 0 is taken as %(origin)s.") % {"origin": f"{ORIGIN:%Y-%m-%d %H:%M}"},
            _("Sent offers whose outcome is cut off by the end of the data: %(count)s.") % {"count": f"{cut_off:,}"},
        ]

    def _parts(self) -> Iterator[pl.DataFrame]:
        for belongs in parts(self.tables["transcript"].rows):
            yield collect(self.transcript.filter(belongs("person"))).sort("row")

    def _exposures(self) -> Iterator[pl.DataFrame]:
        for belongs in parts(self.tables["transcript"].rows):
            part = collect(self.transcript.filter(belongs("person")))
            yield treated(part, self.portfolio)
            yield controls(part, self.people.filter(belongs("person")), self.waves)

    def _campaign(self, sink: Sink) -> StoredCampaign:
        longest = max(self.portfolio["window_h"].to_list())
        return sink.campaign(
            name="Starbucks offers test (simulated)",
            goal="Completed offers",
            starts_at=moment(self.waves[0]),
            ends_at=moment(self.waves[-1] + longest),
            attribution_hours=ATTRIBUTION_HOURS,
            currency=CURRENCY,
            delivery=Campaign.Delivery.SENT.value,
            offers=[offer(row) for row in self.portfolio.iter_rows(named=True)],
        )

    def _shopper(self, row: dict[str, Any]) -> ShopperData:
        return ShopperData(
            external_id=self.identifier(row["person"]),
            population=self.name,
            joined_at=row["joined_at"],
            attributes={"age": row["age"], "gender": row["gender"], "income": row["income"]},
            purposes=PURPOSES,
            consent_source=CONSENT_SOURCE,
        )


def moment(hour: int) -> datetime:
    """Return the moment of an hour of the test."""
    return ORIGIN + timedelta(hours=hour)


def portfolio(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Add each offer's outcome window in hours, and its money in cents."""
    duration_h = pl.col("duration") * 24
    return frame.with_columns(
        duration_h=duration_h,
        window_h=pl.min_horizontal(duration_h, ATTRIBUTION_HOURS),
        reward_minor=minor("reward"),
        threshold_minor=minor("difficulty"),
    ).rename({"id": "offer_id"})


def people(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Read the membership date (YYYYMMDD; null where it is none) and the code for an unknown age."""
    written = pl.col("became_member_on")
    joined = pl.when(written > 0).then(written).cast(pl.String).str.to_date("%Y%m%d", strict=False)
    return frame.select(
        "row",
        pl.col("id").alias("person"),
        pl.when(pl.col("age") != UNKNOWN_AGE).then("age").alias("age"),
        "gender",
        "income",
        joined.cast(pl.Datetime("us")).dt.replace_time_zone("UTC").alias("joined_at"),
    )


def transcript(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Put money into cents."""
    return frame.with_columns(amount_minor=minor("amount"), reward_minor=minor("reward"))


def offer(row: dict[str, Any]) -> dict[str, Any]:
    """Return one row of the portfolio as an offer's fields."""
    kind = KINDS[row["offer_type"]]
    reward, threshold = row["reward_minor"], row["threshold_minor"]
    text = f"{row['offer_type']}: {reward / 100:g} off from {threshold / 100:g}" if reward else row["offer_type"]
    return {
        "name": f"{text}, {row['duration']} days, {'/'.join(row['channels'])} ({row['offer_id'][:6]})"[:120],
        "kind": kind.value,
        "amount_minor": 0 if kind is OfferKind.ANNOUNCEMENT else reward,
        "threshold_minor": threshold,
        "valid_hours": row["duration_h"],
        "attributes": {
            "external_id": row["offer_id"],
            "simulated": True,  # by the data set's authors
            "offer_type": row["offer_type"],
            "duration_hours": row["duration_h"],
            "channels": row["channels"],
            **{channel: int(channel in row["channels"]) for channel in CHANNELS},
        },
    }


def refuse_contradictions(portfolio: pl.DataFrame, people: pl.DataFrame, transcript: pl.LazyFrame) -> None:
    """Raise DatasetError unless the three files belong together."""
    advice = _("Fetch the data set again; nothing has been imported.")
    require(portfolio["offer_id"].is_unique().all(), _("portfolio.parquet holds an offer twice.") + " " + advice)
    require(people["person"].is_unique().all(), _("profile.parquet holds a customer twice.") + " " + advice)
    require(
        people["joined_at"].null_count() == 0,
        _("profile.parquet holds a membership date that is none.") + " " + advice,
    )
    require(
        portfolio["offer_type"].is_in(list(KINDS)).all() and bool((portfolio["duration"] > 0).all()),
        _("portfolio.parquet holds an offer of unknown type or without duration.") + " " + advice,
    )
    is_order = pl.col("event") == TRANSACTION
    bad = collect(
        transcript.select(
            (~pl.col("event").is_in(list(EVENT_TYPES))).sum().alias(_("events of unknown type")),
            (~pl.col("person").is_in(people["person"].implode())).sum().alias(_("customers missing from the profile")),
            (~is_order & ~pl.col("offer_id").is_in(portfolio["offer_id"].implode()).fill_null(False))
            .sum()
            .alias(_("offers missing from the portfolio")),
            (is_order & pl.col("amount").is_null()).sum().alias(_("purchases without an amount")),
            (pl.col("time_h") < 0).sum().alias(_("negative hours")),
            (pl.col("time_h") > MOST_HOURS).sum().alias(_("hours beyond a hundred years")),
        )
    ).row(0, named=True)
    for what, count in bad.items():
        require(count == 0, f"transcript.parquet: {count} {what}. {advice}")


def treated(part: pl.DataFrame, portfolio: pl.DataFrame) -> pl.DataFrame:
    """Return each receipt with the hours of what came of it. ``part`` holds all rows of its customers."""
    terms = portfolio.select("offer_id", "window_h", "reward_minor")
    receipts = (
        part.filter(pl.col("event") == RECEIVED)
        .select("row", "person", "offer_id", "time_h", "seq")
        .join(terms, on="offer_id")
        .with_columns(window_end_h=pl.col("time_h") + pl.col("window_h"))
    )

    def later(event: str, keys: list[str]) -> pl.DataFrame:
        """The rows of this event within each receipt's window, by the receipt's row."""
        follow = part.filter(pl.col("event") == event).select(
            *keys, pl.col("time_h").alias("hour"), pl.col("seq").alias("seq_then"), "amount_minor"
        )
        after = (pl.col("hour") > pl.col("time_h")) | (
            (pl.col("hour") == pl.col("time_h")) & (pl.col("seq_then") > pl.col("seq"))
        )
        return receipts.join(follow, on=keys).filter(after & (pl.col("hour") <= pl.col("window_end_h")))

    first = pl.col("hour").min()
    return (
        receipts.join(later(VIEWED, ["person", "offer_id"]).group_by("row").agg(viewed_h=first), on="row", how="left")
        .join(
            later(COMPLETED, ["person", "offer_id"]).group_by("row").agg(redeemed_h=first),
            on="row",
            how="left",
        )
        .join(
            later(TRANSACTION, ["person"])
            .group_by("row")
            .agg(purchased_h=first, revenue_minor=pl.col("amount_minor").sum()),
            on="row",
            how="left",
        )
        .select(
            "person",
            "offer_id",
            "time_h",
            "window_end_h",
            "viewed_h",
            "redeemed_h",
            "purchased_h",
            pl.col("row").cast(pl.String).alias("identity"),
            pl.col("revenue_minor").fill_null(0),
            pl.when(pl.col("redeemed_h").is_not_null()).then("reward_minor").otherwise(0).alias("cost_minor"),
        )
        .sort(pl.col("identity").cast(pl.Int64))
    )


def controls(part: pl.DataFrame, people: pl.DataFrame, waves: Sequence[int]) -> pl.DataFrame:
    """Return who was sent nothing, wave by wave, with what they bought in the longest window.

    Sends come first in their hour, so purchases of the wave's own hour count here as they do for the treated.
    """
    received = part.filter(pl.col("event") == RECEIVED).select("person", "time_h")
    withheld = (
        people.select("person", pl.col("row").alias("profile_row"))
        .join(pl.DataFrame({"time_h": waves}, schema={"time_h": pl.Int64}), how="cross")
        .join(received, on=["person", "time_h"], how="anti")
        .with_columns(window_end_h=pl.col("time_h") + ATTRIBUTION_HOURS)
    )
    bought = (
        withheld.join(
            part.filter(pl.col("event") == TRANSACTION).select(
                "person", pl.col("time_h").alias("hour"), "amount_minor"
            ),
            on="person",
        )
        .filter(pl.col("hour").is_between(pl.col("time_h"), pl.col("window_end_h")))
        .group_by("person", "time_h")
        .agg(purchased_h=pl.col("hour").min(), revenue_minor=pl.col("amount_minor").sum())
    )
    nothing = pl.lit(None, dtype=pl.Int64)
    return withheld.join(bought, on=["person", "time_h"], how="left").select(
        "person",
        pl.lit(None, dtype=pl.String).alias("offer_id"),
        "time_h",
        "window_end_h",
        nothing.alias("viewed_h"),
        nothing.alias("redeemed_h"),
        "purchased_h",
        pl.format("c{}:{}", "time_h", "profile_row").alias("identity"),
        pl.col("revenue_minor").fill_null(0),
        pl.lit(0, dtype=pl.Int64).alias("cost_minor"),
    )


@dataclass(frozen=True, slots=True)
class Ids:
    """Turns frames into rows for the rooms: knows the source and everybody's primary key."""

    source: str
    identifier: Callable[[object], str]
    shoppers: Mapping[str, int]
    campaign: StoredCampaign

    def events(self, frame: pl.DataFrame) -> Iterator[EventData]:
        """Yield events. Those of one hour share a moment, so that nothing of a receipt's own hour passes for
        something from before it; ``seq`` in the properties keeps their order."""
        for row in frame.iter_rows(named=True):
            properties: dict[str, Any] = {"seq": row["seq"]}
            value = row["reward_minor"]
            if row["event"] == TRANSACTION:
                value = row["amount_minor"]
                properties |= {"order_id": row["identity"], "currency": CURRENCY, "lines": []}
            yield EventData(
                source=self.source,
                event_id=row["identity"],
                type=EVENT_TYPES[row["event"]],
                shopper_id=self.shoppers[self.identifier(row["person"])],
                occurred_at=moment(row["time_h"]),
                offer_id=self.campaign.offers[row["offer_id"]] if row["offer_id"] is not None else None,
                value_minor=value,
                properties=properties,
            )

    def exposures(self, frame: pl.DataFrame) -> Iterator[ExposureData]:
        """Yield treatment exposures, and control ones where there is no offer."""

        def at(hour: int | None) -> datetime | None:
            return None if hour is None else moment(hour)

        for row in frame.iter_rows(named=True):
            sent = row["offer_id"] is not None
            yield ExposureData(
                source=self.source,
                source_row=row["identity"],
                shopper_id=self.shoppers[self.identifier(row["person"])],
                exposed_at=moment(row["time_h"]),
                window_ends_at=moment(row["window_end_h"]),
                campaign_id=self.campaign.pk,
                offer_id=self.campaign.offers[row["offer_id"]] if sent else None,
                arm=Arm.TREATMENT if sent else Arm.CONTROL,
                propensity=PROPENSITY if sent else None,
                viewed_at=at(row["viewed_h"]),
                redeemed_at=at(row["redeemed_h"]),
                purchased_at=at(row["purchased_h"]),
                revenue_minor=row["revenue_minor"],
                cost_minor=row["cost_minor"],
            )
