"""Signs of abuse: rules score a reservation; from a threshold on it waits for somebody's decision.

What a shop tells about an order's origin (:class:`personalization.types.Facts`) is kept as keyed hashes: two shoppers
can be seen to share a device, and nobody can read which. Rules are rows; decisions count for or against them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.db.models import Count, F, Q, QuerySet
from django.db.models.functions import Coalesce
from django.utils import timezone

from personalization import conf
from personalization.campaigns import counters, coupons
from personalization.models import Coupon, Reservation, RiskFact, RiskReview, RiskRule, Shopper
from personalization.tracking import secrets
from personalization.types import Facts

Kind = RiskRule.Kind
State = Reservation.State
DAY = timedelta(days=1)
MEMORY = timedelta(days=90)
"""How long two shoppers are remembered to share something; facts older than this are deleted."""
VOUCHED = timedelta(days=7)
"""So long a coupon that somebody approved for its shopper is not stopped again."""
REFERRAL = "referral:"
BATCH = 500
DEFAULTS: dict[Kind, tuple[int, int]] = {
    Kind.VELOCITY: (10, 60),
    Kind.DEVICE: (3, 60),
    Kind.ADDRESS: (5, 40),
    Kind.PAYMENT: (2, 60),
    Kind.NETWORK: (20, 30),
    Kind.SELF_REFERRAL: (1, 100),
    Kind.YOUNG_ACCOUNT: (24, 20),
}
"""Kind → threshold and points of a shop that has not chosen its own."""
MIN_DECIDED = 10
"""Decisions before a rule's precision is worth a proposal."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What the decisions say about a rule. ``precision`` is None before the first one."""

    decided: int
    dismissed: int
    precision: float | None
    points: int | None
    raise_threshold: bool


def ensure_defaults() -> int:
    """Make the rules that are missing, never changing one that is there; returns how many."""
    wanted = [RiskRule(kind=kind, threshold=least, points=points) for kind, (least, points) in DEFAULTS.items()]
    before = RiskRule.objects.count()
    if before < len(wanted):
        RiskRule.objects.bulk_create(wanted, ignore_conflicts=True)
    return RiskRule.objects.count() - before


def referral_key(referrer: Shopper, occasion: str = "") -> str:
    """Return the ``claim_key`` under which a referral program issues a coupon: it names who referred."""
    return f"{REFERRAL}{referrer.key.hex}:{occasion}"


# --- Scoring ----------------------------------------------------------------------------------------------------------


class _Rule(NamedTuple):
    """What scoring needs of a :class:`RiskRule`."""

    kind: str
    threshold: int
    points: int


# Asked for every reservation, so written out: Django would take longer to compose them than the database to answer.
_ACTIVE_RULES = "SELECT kind, threshold, points FROM personalization_riskrule WHERE active ORDER BY id"
_BASKETS_OF_A_DAY = """
SELECT COUNT(DISTINCT CASE WHEN basket_key = '' THEN CAST(id AS varchar(36)) ELSE basket_key END)
FROM personalization_reservation
WHERE shopper_id = %s AND created_at > %s AND state IN ('held', 'review', 'redeemed')
"""


def _active_rules() -> list[_Rule]:
    with connection.cursor() as cursor:
        cursor.execute(_ACTIVE_RULES)
        return [_Rule(*row) for row in cursor.fetchall()]


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Why a reservation has to wait for a review."""

    reservation: Reservation
    score: int
    hits: list[dict[str, Any]]


def judge(reservation: Reservation, facts: Facts | None, now: datetime) -> Suspicion | None:
    """Score a reservation that was just made; None if it may pass.

    Call it inside the reservation's transaction, before the rows that all shoppers share are locked. At most three
    reads, however many rules. The facts of a guest without a shopper are compared and not kept.
    """
    rules = _active_rules()
    given = _given(facts)
    hits: list[dict[str, Any]] = [
        {"rule": rule.kind, "figure": figure, "threshold": rule.threshold, "points": rule.points}
        for rule, figure in _figures(rules, reservation, given, now)
        if _fires(rule, figure)
    ]
    if given and reservation.shopper_id is not None:
        RiskFact.objects.bulk_create(
            RiskFact(
                reservation=reservation,
                shopper_id=reservation.shopper_id,
                kind=kind,
                digest=secrets.digest(value, f"risk:{kind}"),
                at=now,
            )
            for kind, value in given.items()
        )
    score = sum(int(hit["points"]) for hit in hits)
    if not hits or score < conf.get().risk_threshold or _vouched(reservation, now):
        return None
    return Suspicion(reservation, score, hits)


def stop(suspicions: Sequence[Suspicion], now: datetime) -> None:
    """Let suspicious reservations wait for somebody's decision; what the budget reserved stays reserved.

    All of a basket in one call: the rules are counted in one order then.
    """
    for suspicion in suspicions:
        reservation = suspicion.reservation
        reservation.state, reservation.expires_at = State.REVIEW, now + timedelta(hours=conf.get().review_hours)
        reservation.save(update_fields=["state", "expires_at"])
        RiskReview.objects.create(reservation=reservation, score=suspicion.score, hits=suspicion.hits, created_at=now)
    _count([hit for suspicion in suspicions for hit in suspicion.hits], "fired_count")


def _given(facts: Facts | None) -> dict[str, str]:
    """Return what the shop knows, written alike however it was typed."""
    if facts is None:
        return {}
    values = {
        Kind.DEVICE: facts.device,
        Kind.ADDRESS: facts.address,
        Kind.PAYMENT: facts.payment,
        Kind.NETWORK: facts.network,
    }
    written = {kind.value: " ".join(str(value).split()).casefold() for kind, value in values.items()}
    return {kind: value for kind, value in written.items() if value}


def _figures(
    rules: list[_Rule], reservation: Reservation, given: Mapping[str, str], now: datetime
) -> list[tuple[_Rule, int | None]]:
    """Return each rule with its figure; None where the rule says nothing about this reservation."""
    kinds = {rule.kind for rule in rules}
    figures: dict[str, int | None] = {}
    referrer = _referrer(reservation) if Kind.SELF_REFERRAL in kinds else ""
    if given and kinds - {Kind.VELOCITY, Kind.YOUNG_ACCOUNT}:
        figures.update(_shared(reservation, given, referrer, now))
    if referrer and _is_same(reservation, referrer):
        figures[Kind.SELF_REFERRAL] = 1
    if Kind.VELOCITY in kinds and reservation.shopper_id is not None:
        figures[Kind.VELOCITY] = _velocity(reservation, now)
    if Kind.YOUNG_ACCOUNT in kinds:
        figures[Kind.YOUNG_ACCOUNT] = _age_hours(reservation.shopper, now)
    return [(rule, figures.get(rule.kind)) for rule in rules]


def _fires(rule: _Rule, figure: int | None) -> bool:
    if figure is None:
        return False
    return figure <= rule.threshold if rule.kind == Kind.YOUNG_ACCOUNT else figure >= rule.threshold


def _shared(reservation: Reservation, given: Mapping[str, str], referrer: str, now: datetime) -> dict[str, int | None]:
    """Return how many other shoppers share each fact, in one query; visitors that were merged are one person."""
    same = Q()
    for kind, value in given.items():
        since = now - (DAY if kind == Kind.NETWORK else MEMORY)
        same |= Q(kind=kind, digest__in=secrets.digests(value, f"risk:{kind}"), at__gte=since)
    others = RiskFact.objects.filter(same).annotate(person=Coalesce("shopper__merged_into", "shopper"))
    if reservation.shopper is not None:
        others = others.exclude(person=_person(reservation.shopper))
    from_referrer = Q(shopper__key=referrer) | Q(shopper__merged_into__key=referrer) if referrer else Q(pk__isnull=True)
    rows = others.values("kind").annotate(
        people=Count("person", distinct=True), theirs=Count("pk", filter=from_referrer)
    )
    figures: dict[str, int | None] = {}
    for row in rows:
        figures[row["kind"]] = row["people"]
        if row["theirs"] and row["kind"] != Kind.NETWORK:  # half a town shares a network
            figures[Kind.SELF_REFERRAL] = 1
    return figures


def _person(shopper: Shopper) -> int:
    return shopper.merged_into_id or shopper.pk


def _referrer(reservation: Reservation) -> str:
    """Return the key of who referred this shopper: the coupon says so, else its offer; empty if neither does."""
    claim_key = reservation.coupon.claim_key
    if claim_key.startswith(REFERRAL):
        return claim_key.removeprefix(REFERRAL).split(":")[0]
    named = str(reservation.offer.attributes.get("referrer") or "").replace("-", "")
    return named if len(named) == 32 and all(letter in "0123456789abcdef" for letter in named) else ""


def _is_same(reservation: Reservation, referrer: str) -> bool:
    shopper = reservation.shopper
    if shopper is None:
        return False
    return shopper.key.hex == referrer or bool(shopper.merged_into and shopper.merged_into.key.hex == referrer)


def _velocity(reservation: Reservation, now: datetime) -> int:
    """Return for how many baskets the shopper used or holds a coupon in a day, this one included."""
    since = connection.ops.adapt_datetimefield_value(now - DAY)
    with connection.cursor() as cursor:
        cursor.execute(_BASKETS_OF_A_DAY, [reservation.shopper_id, since])
        return int(cursor.fetchone()[0])


def _age_hours(shopper: Shopper | None, now: datetime) -> int | None:
    """Return the account's age in whole hours; None for visitors, who have none."""
    if shopper is None or (shopper.joined_at is None and shopper.user_id is None):
        return None
    return max(int((now - (shopper.joined_at or shopper.created_at)) / timedelta(hours=1)), 0)


def _vouched(reservation: Reservation, now: datetime) -> bool:
    """Tell whether somebody let this coupon pass for this shopper lately."""
    if reservation.shopper_id is None:
        return False
    return RiskReview.objects.filter(
        reservation__coupon_id=reservation.coupon_id,
        reservation__shopper_id=reservation.shopper_id,
        state=RiskReview.State.APPROVED,
        decided_at__gt=now - VOUCHED,
    ).exists()


# --- Deciding ---------------------------------------------------------------------------------------------------------


def waiting() -> QuerySet[RiskReview]:
    """Return the reviews that can still be decided, oldest first."""
    return RiskReview.objects.filter(state=RiskReview.State.PENDING, reservation__state=State.REVIEW).order_by(
        "created_at", "pk"
    )


def approve(review: RiskReview, by: Any = None, note: str = "") -> bool:
    """Let a redemption pass: the same idempotency key gets its hold, for a fresh lifetime.

    An offer of a basket is free again instead, for a quote of what the basket costs by then; the coupon is not stopped
    again for a week. False if somebody else decided before, or the shopper gave it up.
    """
    return _decide(review, RiskReview.State.APPROVED, by, note, _hold_again, "dismissed_count")


def reject(review: RiskReview, by: Any = None, note: str = "") -> bool:
    """Refuse a redemption as abuse: its discount is given back and the coupon voided. False as with ``approve``.

    A code that many may use is not voided because of one of them.
    """
    return _decide(review, RiskReview.State.REJECTED, by, note, _refuse, "confirmed_count")


def _decide(
    review: RiskReview,
    state: RiskReview.State,
    by: Any,
    note: str,
    act: Callable[[Reservation], bool],
    counter: str,
) -> bool:
    with transaction.atomic():
        if not _close(review, state, by, note):
            return False
        if not act(review.reservation):
            RiskReview.objects.filter(pk=review.pk).update(state=RiskReview.State.LAPSED)
            return False
        _count(review.hits, counter)
    review.refresh_from_db()
    return True


def _close(review: RiskReview, state: RiskReview.State, by: Any = None, note: str = "") -> bool:
    """End a review that is pending; of several who try, one does."""
    pending = RiskReview.objects.filter(pk=review.pk, state=RiskReview.State.PENDING)
    return bool(pending.update(state=state, decided_by=by, decided_at=timezone.now(), note=note[:300]))


def _hold_again(reservation: Reservation) -> bool:
    if reservation.basket_key:
        return bool(counters.let_go([reservation], State.RELEASED, [State.REVIEW]))
    until = timezone.now() + timedelta(minutes=conf.get().reservation_minutes)
    waits = Reservation.objects.filter(pk=reservation.pk, state=State.REVIEW)
    return bool(waits.update(state=State.HELD, expires_at=until))


def _refuse(reservation: Reservation) -> bool:
    if not counters.let_go([reservation], State.RELEASED, [State.REVIEW]):
        return False
    coupon = Coupon.objects.get(pk=reservation.coupon_id)
    if coupon.shopper_id is not None or coupon.max_uses == 1:
        coupons.void(coupon)
    return True


def lapse(now: datetime | None = None) -> int:
    """Release what nobody decided on in time, and forget facts that are too old; returns how many reviews ended."""
    now = now or timezone.now()
    late = Q(created_at__lte=now - timedelta(hours=conf.get().review_hours))
    given_up = ~Q(reservation__state=State.REVIEW)
    overdue = RiskReview.objects.filter(late | given_up, state=RiskReview.State.PENDING).select_related("reservation")
    ended = 0
    for review in list(overdue.order_by("pk")[:BATCH]):
        with transaction.atomic():
            if _close(review, RiskReview.State.LAPSED):
                counters.let_go([review.reservation], State.RELEASED, [State.REVIEW])
                ended += 1
    old = RiskFact.objects.filter(at__lt=now - MEMORY).order_by("pk").values_list("pk", flat=True)[: 10 * BATCH]
    RiskFact.objects.filter(pk__in=list(old)).delete()
    return ended


def _count(hits: list[dict[str, Any]], counter: str) -> None:
    kinds = Counter(str(hit["rule"]) for hit in hits if isinstance(hit, dict) and "rule" in hit)
    for kind, times in sorted(kinds.items()):  # in one order, so that nobody waits for the others in a ring
        RiskRule.objects.filter(kind=kind).update(**{counter: F(counter) + times})


# --- Learning from decisions ------------------------------------------------------------------------------------------


def advice(rule: RiskRule) -> Advice:
    """Return what the decisions say about a rule.

    The points proposed are the review threshold times the rule's precision, smoothed as if one redemption of each
    sort had been decided before: a rule that is always right stops a redemption by itself.
    """
    confirmed, dismissed = rule.confirmed_count, rule.dismissed_count
    decided = confirmed + dismissed
    enough = decided >= MIN_DECIDED
    smoothed = (confirmed + 1) / (decided + 2)
    return Advice(
        decided=decided,
        dismissed=dismissed,
        precision=confirmed / decided if decided else None,
        points=max(5, 5 * round(conf.get().risk_threshold * smoothed / 5)) if enough else None,
        raise_threshold=enough and dismissed >= 0.8 * decided,
    )


def suggest_points() -> dict[int, int]:
    """Return rule → proposed points, for the rules whose points should change. Nothing is changed here."""
    proposed = {rule: advice(rule).points for rule in RiskRule.objects.order_by("pk")}
    return {rule.pk: points for rule, points in proposed.items() if points is not None and points != rule.points}
