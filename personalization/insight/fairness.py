"""The fairness audit: what groups of the protected attributes were shown, did, gained and paid, with intervals.

Four measures, each of a group against everybody else whose group is known, over the shoppers of the last 90 days:

- **exposure**: share of the shoppers about whom something was decided who were shown an offer;
- **response**: share of those shown an offer who redeemed one in its window;
- **uplift**: share of treated shoppers who bought, less that of the holdout, where there is a holdout;
- **price**: discount given as a share of the list price of what they bought, shopper by shopper.

Shares have Wilson's intervals, differences Newcombe's, uplift the same rule once more, prices a bootstrap over
shoppers. Where nobody on either side was given a discount, there are no prices to compare, and the report says so. A
report compares many pairs, so that each interval is wide enough for all to hold together with 95 % (Bonferroni).
Different is not yet unfair: offers that follow interest reach groups differently. An audit says how much.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from django.db.models import Count, F, Q, Sum
from numpy.typing import NDArray

from personalization import conf
from personalization.insight import thresholds
from personalization.insight.findings import BAD, GOOD, HINT
from personalization.insight.observations import Observation
from personalization.learning.fairness import UNKNOWN, labels_of
from personalization.models import Decision, Event, Exposure, MonitoringReport, Redemption
from personalization.pure.proportions import Estimate, difference, wilson
from personalization.types import Arm

SPAN = timedelta(days=90)
RESAMPLES = 1000
BUCKETS = 1000
MEASURES = ("exposure", "response", "uplift", "price")
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Gap:
    """One group's figure, everybody else's, and the difference; a level says what is to be made of it."""

    measure: str
    attribute: str
    group: str
    shoppers: int
    others: int
    own: Estimate
    rest: Estimate
    gap: Estimate
    level: str


@dataclass(frozen=True, slots=True)
class NoGap:
    """A comparison that would say nothing: what the measure is about happened to nobody on either side."""

    measure: str
    attribute: str
    group: str
    shoppers: int


@dataclass(slots=True)
class People:
    """A row a shopper: what was decided, shown, redeemed and bought; money in minor units. ``ids`` ascending."""

    ids: NDArray[np.int64]
    treated: Bools
    shown: Bools
    matured: Bools
    redeemed: Bools
    held_out: Bools
    bought: Bools
    paid: NDArray[np.float64]
    discount: NDArray[np.float64]


def is_due(population: str, now: datetime) -> bool:
    """Return whether the last audit is older than the schedule."""
    days = conf.get().audit_every_days
    if days <= 0:
        return False
    since = now - timedelta(days=days)
    rows = MonitoringReport.objects.filter(kind=MonitoringReport.Kind.FAIRNESS, population=population)
    return not rows.filter(at__gt=since).exists()


def report(population: str, now: datetime) -> MonitoringReport:
    """Audit and return an unsaved report: figures a group and no smaller one."""
    compared, found = audit(population, now), []
    gaps = [each for each in compared if isinstance(each, Gap)]
    nothing = [each for each in compared if isinstance(each, NoGap)]
    month = now.strftime("%Y-%m")
    for gap in gaps:
        if gap.level != GOOD:
            occasion = f"{month}:{gap.measure}:{gap.attribute}:{gap.group}"
            found.append(Observation("gap", gap.level, occasion, _told(gap)))
    if not gaps:
        found.append(Observation("no_groups", GOOD))
    elif not found:
        largest = max(gaps, key=lambda each: abs(each.gap.value))
        counts = {"comparisons": len(gaps), "tolerance": thresholds.get("gap")}
        found.append(Observation("no_gap", GOOD, figures={**counts, **_told(largest)}))
    return MonitoringReport(
        kind=MonitoringReport.Kind.FAIRNESS,
        population=population,
        at=now,
        figures={
            "days": SPAN.days,
            "gaps": [asdict(gap) for gap in gaps],
            "nothing": [asdict(each) for each in nothing],
        },
        findings=[observation.as_json() for observation in found],
    )


def _told(gap: Gap) -> dict[str, Any]:
    """Return what a sentence needs of a gap; the difference and its interval as shares."""
    figures = {name: round(getattr(gap.gap, name), 4) for name in ("value", "low", "high")}
    return {"measure": gap.measure, "attribute": gap.attribute, "group": gap.group, **figures}


def audit(population: str, now: datetime) -> list[Gap | NoGap]:
    """Return every comparison of groups that are large enough, by attribute, group and measure."""
    people = _people(population, now)
    labels = labels_of(people.ids.tolist())
    least = int(thresholds.get("group"))
    pairs = list(_pairs(labels, least))
    confidence = 1 - 0.05 / max(len(pairs) * len(MEASURES), 1)
    found: list[Gap | NoGap] = []
    for attribute, group, inside, outside in pairs:
        for measure in MEASURES:
            compared = _compare(measure, people, inside, outside, confidence, least)
            if isinstance(compared, int):
                found.append(NoGap(measure, attribute, group, compared))
            elif compared is not None:
                sizes, own, rest, gap = compared
                found.append(Gap(measure, attribute, group, *sizes, own, rest, gap, _level(gap)))
    return found


def _pairs(labels: dict[str, Any], least: int) -> Iterator[tuple[str, str, Bools, Bools]]:
    """Yield attribute, group, and who is inside and who outside of it, where both are large enough."""
    for attribute, groups in labels.items():
        known = groups != UNKNOWN
        for group in sorted(set(groups[known].tolist())):
            inside, outside = known & (groups == group), known & (groups != group)
            if min(inside.sum(), outside.sum()) >= least:
                yield attribute, group, inside, outside


def _level(gap: Estimate) -> str:
    """Return bad where the whole interval lies beyond the tolerance, a hint where the gap does and zero is outside."""
    tolerance = thresholds.get("gap")
    if gap.low > tolerance or gap.high < -tolerance:
        return BAD
    return HINT if gap.excludes_zero and abs(gap.value) > tolerance else GOOD


Compared = tuple[tuple[int, int], Estimate, Estimate, Estimate]


def _compare(
    measure: str, people: People, inside: Bools, outside: Bools, confidence: float, least: int
) -> Compared | int | None:
    """Return the shoppers of both sides, both figures and their difference; None where too few can be counted.

    The number of the group's shoppers alone where there is nothing to compare: neither side was given any discount.
    """
    base = {
        "exposure": people.treated,
        "response": people.matured,
        "uplift": people.treated,
        "price": people.treated & (people.paid > 0),
    }[measure]
    sizes = int((inside & base).sum()), int((outside & base).sum())
    if min(sizes) < least:
        return None
    if measure == "price":
        if not people.discount[(inside | outside) & base].any():
            return sizes[0]
        return _priced(people, inside & base, outside & base, confidence, sizes)
    sides = []
    for side in (inside, outside):
        hits = {"exposure": people.shown, "response": people.redeemed, "uplift": people.bought}[measure]
        own = wilson(int((side & base & hits).sum()), int((side & base).sum()), confidence=confidence)
        if measure == "uplift":
            held = side & people.held_out
            if held.sum() < least:
                return None
            own = difference(own, wilson(int((held & hits).sum()), int(held.sum()), confidence=confidence))
        sides.append(own)
    gap = difference(sides[0], sides[1])
    if sides[0] is None or sides[1] is None or gap is None:
        return None
    return sizes, sides[0], sides[1], gap


def _priced(
    people: People, inside: Bools, outside: Bools, confidence: float, sizes: tuple[int, int], seed: int = 0
) -> Compared:
    """Compare Σ discount / Σ list price over resampled shoppers, with Poisson weights.

    Many shoppers are first thrown into buckets at random, and these are resampled: sums of as many strangers each, they
    vary as the shoppers do, and the time does not grow with their number.
    """
    rng = np.random.default_rng(seed)
    drawn = []
    for side in (inside, outside):
        count = int(side.sum())
        bucket = rng.permutation(count) % min(count, BUCKETS)
        discount, full = (
            np.bincount(bucket, weights=values[side]) for values in (people.discount, people.paid + people.discount)
        )
        weights = rng.poisson(1.0, size=(RESAMPLES, len(full)))
        resampled = (weights @ discount) / np.maximum(weights @ full, 1.0)
        drawn.append(np.append(discount.sum() / full.sum(), resampled))
    tail = [(1 - confidence) / 2, (1 + confidence) / 2]

    def estimate(values: NDArray[np.float64]) -> Estimate:
        low, high = np.quantile(values[1:], tail)
        return Estimate(float(values[0]), float(low), float(high))

    return sizes, estimate(drawn[0]), estimate(drawn[1]), estimate(drawn[0] - drawn[1])


def _people(population: str, now: datetime) -> People:
    """Read the period's shoppers in a few grouped queries."""
    since = now - SPAN
    mine = {
        "shopper__population": population,
        "shopper__merged_into": None,
        "shopper__is_bot": False,
        "shopper__consent_personalisation": True,
    }
    decided = Decision.objects.filter(at__gt=since, at__lte=now, arm=Arm.TREATMENT.value, **mine)
    treated = set(decided.order_by().values_list("shopper_id", flat=True).distinct())
    offered = Q(offer__isnull=False)
    known = Q(window_ends_at__lte=now)
    rows = (
        Exposure.objects.filter(exposed_at__gt=since, exposed_at__lte=now, **mine)
        .order_by()
        .values("shopper_id", "arm")
        .annotate(
            shown=Count("pk", filter=offered),
            matured=Count("pk", filter=offered & known),
            ended=Count("pk", filter=known),
            redeemed=Count("pk", filter=offered & known & Q(redeemed_at__isnull=False)),
            bought=Count("pk", filter=known & Q(purchased_at__isnull=False)),
        )
    )
    found: dict[int, dict[str, float]] = {pk: {"treated": 1} for pk in treated}
    for row in rows.iterator(chunk_size=5000):
        person = found.setdefault(row["shopper_id"], {})
        if row["arm"] == Arm.TREATMENT.value:
            person["treated"] = 1
        elif row["ended"]:
            person["held_out"] = 1
        for name in ("shown", "matured", "redeemed", "bought"):
            person[name] = person.get(name, 0) + row[name]
    for pk, paid, discount in _money(population, since, now):
        if pk in found:
            found[pk]["paid"] = found[pk].get("paid", 0) + paid
            found[pk]["discount"] = found[pk].get("discount", 0) + discount
    ids = sorted(found)

    def column(name: str) -> NDArray[np.float64]:
        return np.array([found[pk].get(name, 0) for pk in ids], dtype=np.float64)

    flags = {name: column(name) > 0 for name in ("treated", "shown", "matured", "redeemed", "held_out", "bought")}
    held_out = flags.pop("held_out") & ~flags["treated"]
    return People(
        np.array(ids, dtype=np.int64), held_out=held_out, paid=column("paid"), discount=column("discount"), **flags
    )


def _money(population: str, since: datetime, now: datetime) -> Iterator[tuple[int, int, int]]:
    """Yield shopper, what orders came to and what was taken off: of the shop's own from its orders and its ledger.

    Not from the exposures there: the same order lies in the window of many. Imported ones have nothing else.
    """
    if population != conf.get().population:
        of = {"shopper__population": population, "exposed_at__gt": since, "exposed_at__lte": now}
        rows = Exposure.objects.filter(window_ends_at__lte=now, **of).order_by().values_list("shopper_id")
        yield from rows.annotate(paid=Sum("revenue_minor"), discount=Sum("cost_minor")).iterator(chunk_size=5000)
        return
    orders = Event.objects.filter(
        type="order_placed", occurred_at__gt=since, occurred_at__lte=now, is_bot=False, shopper__population=population
    )
    for pk, paid in orders.order_by().values_list("shopper_id").annotate(paid=Sum("value_minor")):
        yield pk, paid or 0, 0
    taken = Redemption.objects.filter(redeemed_at__gt=since, redeemed_at__lte=now, shopper__population=population)
    kept = Sum(F("amount_minor") - F("refunded_minor"))
    for pk, discount in taken.order_by().values_list("shopper_id").annotate(kept=kept):
        yield pk, 0, discount or 0
