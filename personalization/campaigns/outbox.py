"""The outbox: messages are written with their occasion and sent afterwards, each once.

A sender takes a message under a lease, looks whether it may still go out, takes a place under the shopper's weekly
limit, hands it over outside any transaction and writes down what came of it. A sender that dies before handing over
costs nothing: the lease runs out and another one sends it. One that dies between handing over and writing it down
makes the message go out a second time, under the same id: receivers drop that by the id.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from personalization import conf
from personalization.campaigns import channels, choices, clock, letters, occasions, pushed, switch, unsubscribe
from personalization.campaigns.choices import Choice
from personalization.exceptions import ChannelFailed, ClaimRefused
from personalization.models import Campaign, Event, OutboxMessage, Shopper

logger = logging.getLogger(__name__)
State = OutboxMessage.State
LEASE = timedelta(minutes=5)
MAX_ATTEMPTS = 5
BACKOFF = (timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=30), timedelta(hours=2))
WEEK = timedelta(days=7)
LATER = timedelta(hours=1)
BATCH = 50


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with a message: what was decided, wait until a moment, or drop it. ``reason`` says why."""

    choice: Choice | None = None
    until: datetime | None = None
    reason: str = ""


def send_due(now: datetime | None = None, *, limit: int = 500, seconds: float = 20.0) -> int:
    """Send up to ``limit`` messages that are due, for at most about so many seconds; returns how many went out."""
    now, began, sent, seen = now or timezone.now(), time.monotonic(), 0, 0
    while seen < limit and time.monotonic() - began < seconds:
        due = _due(now, min(BATCH, limit - seen))
        if not due:
            break
        for pk, fence in due:
            seen += 1
            message = _lease(pk, fence, now)
            if message is not None:
                sent += _deliver(message, now)
            if time.monotonic() - began >= seconds:
                break
    return sent


def _waiting(now: datetime) -> Q:
    return Q(state=State.WAITING, not_before__lte=now) | Q(state=State.SENDING, lease_expires_at__lt=now)


def _due(now: datetime, size: int) -> list[tuple[UUID, int]]:
    rows = OutboxMessage.objects.filter(_waiting(now), not_before__lte=now).order_by("not_before", "pk")
    return list(rows.values_list("pk", "fence")[:size])


def _lease(pk: UUID, fence: int, now: datetime) -> OutboxMessage | None:
    """Take a message under its next fencing token; the attempt is counted before any work."""
    taken = OutboxMessage.objects.filter(_waiting(now), pk=pk, fence=fence).update(
        state=State.SENDING,
        attempts=F("attempts") + 1,
        fence=fence + 1,
        # The clock on the wall, not ``now``: a pass may have been going on for a while.
        lease_expires_at=max(now, timezone.now()) + LEASE,
    )
    if not taken:
        return None
    rows = OutboxMessage.objects.select_related("campaign", "shopper", "occurrence__trigger")
    return rows.filter(pk=pk, fence=fence + 1).first()


def _deliver(message: OutboxMessage, now: datetime) -> int:
    """Do one leased message; returns 1 if it went out. Nothing escapes: the others must go out too."""
    try:
        return _try(message, now)
    except ClaimRefused as error:
        _drop(message, error.reason or "no_coupon")
    except ChannelFailed as error:
        _failed(message, error.reason or "channel_failed", now)
    except Exception as error:
        # The class only: an error's text may name the address.
        logger.error("message %s failed: %s", message.pk, type(error).__name__)
        _failed(message, type(error).__name__, now)
    return 0


def _try(message: OutboxMessage, now: datetime) -> int:
    if message.attempts > MAX_ATTEMPTS:  # it took its senders down with it
        raise ChannelFailed(reason="sender_died")
    verdict = judge(message, now)
    if verdict.until is not None:
        _postpone(message, verdict.until, verdict.reason)
        return 0
    choice = verdict.choice
    if choice is None:
        _drop(message, verdict.reason)
        return 0
    if choice.offer is None:
        _withhold(message, choice, now)
        return 0
    channel = channels.channel(message.channel)
    address = unsubscribe.address_of(message.shopper, message.channel)
    if channel.needs_address and not address:
        _drop(message, "no_address")
        return 0
    if address and unsubscribe.is_suppressed(message.shopper, message.channel, address):
        _drop(message, "suppressed_address")
        return 0
    if not _take_place(message, choice, now):
        return 0
    coupon = letters.coupon_for(message, choice.offer, now)
    channel.send(letters.render(message, choice.offer, coupon, address))
    return _sent(message, choice)


def judge(message: OutboxMessage, now: datetime) -> Verdict:
    """Return whether a message may go out now, and with which offer. Reads only."""
    campaign, shopper = message.campaign, message.shopper
    if message.occurrence is not None and message.occurrence.open_until <= now:
        return Verdict(reason="occasion_over")
    if message.occurrence is not None and not message.occurrence.trigger.active:
        return Verdict(reason="trigger_inactive")
    if shopper.merged_into_id is not None or shopper.is_bot:
        return Verdict(reason="not_a_person")
    if not (shopper.consent_marketing and shopper.consent_personalisation):
        return Verdict(reason="no_consent")
    if campaign.status == Campaign.Status.PAUSED or switch.engaged_now(campaign.population):
        return Verdict(until=now + LATER, reason="stopped")
    if campaign.status != Campaign.Status.RUNNING or not campaign.starts_at <= now < campaign.ends_at:
        return Verdict(reason="campaign_not_running")
    if _bought_since(message):
        return Verdict(reason="bought_meanwhile")
    quiet_until = end_of_quiet(campaign, now)
    if quiet_until is not None:
        return Verdict(until=quiet_until, reason="quiet_hours")
    return _choose(message, now)


def _choose(message: OutboxMessage, now: datetime) -> Verdict:
    """Return what is decided about the campaign's offers; whoever can have none gets the first one's reason."""
    choice = choices.choose(message, now)
    if choice.offer is not None or pushed.is_withheld(choice):
        return Verdict(choice=choice)
    reasons = list(choice.decision.excluded.values())
    if "paced" in reasons:
        return Verdict(until=now + LATER, reason="paced")
    return Verdict(reason=reasons[0] if reasons else "no_offer")


def _bought_since(message: OutboxMessage) -> bool:
    occurrence = message.occurrence
    if occurrence is None or occurrence.trigger.kind not in occasions.ENDED_BY_ORDER:
        return False
    orders = Event.objects.filter(shopper=message.shopper_id, type="order_placed", occurred_at__gte=occurrence.at)
    return orders.exists()


def end_of_quiet(campaign: Campaign, now: datetime) -> datetime | None:
    """Return when the campaign's night is over if it is night there now; None if it is day."""
    begins, ends = conf.get().quiet_hours or (0, 0)
    place = clock.zone_of(campaign)
    shown = clock.wall(now, place)
    quiet = begins <= shown.hour < ends if begins <= ends else shown.hour >= begins or shown.hour < ends
    if not quiet:
        return None
    morning = shown.replace(hour=ends % 24, minute=0, second=0, microsecond=0, fold=0)
    if shown.hour >= ends:
        morning += timedelta(days=1)
    # A morning that the clocks skip is the moment right after the gap.
    return max(morning.replace(tzinfo=place).astimezone(now.tzinfo), now + timedelta(minutes=1))


def _take_place(message: OutboxMessage, choice: Choice, now: datetime) -> bool:
    """Count this message under the shopper's weekly limit and note its offer, or postpone or drop it.

    Everybody who counts for a shopper holds the shopper's row meanwhile; the word on consent is read under it too.
    """
    with transaction.atomic():
        shopper = Shopper.objects.select_for_update().filter(pk=message.shopper_id).first()
        if shopper is None or not shopper.consent_marketing:
            _drop(message, "no_consent")
            return False
        counted = (
            OutboxMessage.objects.filter(shopper=message.shopper_id, sent_at__gt=now - WEEK)
            .exclude(pk=message.pk)
            .order_by("-sent_at")
        )
        latest = list(counted.values_list("sent_at", flat=True)[: conf.get().push_per_week])
        if len(latest) < conf.get().push_per_week:
            if not _ours(message).update(sent_at=now):
                return False
            pushed.note(choice)
            return True
        free_at = latest[-1] + WEEK if latest and latest[-1] is not None else now + WEEK
    over = message.occurrence.open_until if message.occurrence is not None else message.campaign.ends_at
    if free_at >= over:
        _drop(message, "frequency_cap")
    else:
        _postpone(message, free_at, "frequency_cap")
    return False


def _ours(message: OutboxMessage) -> QuerySet[OutboxMessage]:
    return OutboxMessage.objects.filter(pk=message.pk, fence=message.fence, state=State.SENDING)


def _sent(message: OutboxMessage, choice: Choice) -> int:
    """Write down that it went out, and the exposure that it is, in one transaction under the token."""
    moment = timezone.now()
    with transaction.atomic():
        if not _ours(message).update(state=State.SENT, reason="", lease_expires_at=None):
            return 0  # somebody else holds it now: what is written down is theirs
        pushed.expose(message, choice, moment)
    return 1


def _withhold(message: OutboxMessage, choice: Choice, now: datetime) -> None:
    """A shopper of the holdout gets nothing, and the books say what they would have got."""
    with transaction.atomic():
        if _ours(message).update(state=State.SUPPRESSED, reason="holdout", lease_expires_at=None, sent_at=None):
            pushed.note(choice)
            pushed.expose(message, choice, now)


def _drop(message: OutboxMessage, reason: str) -> None:
    _ours(message).update(state=State.SUPPRESSED, reason=reason[:60], lease_expires_at=None, sent_at=None)


def _postpone(message: OutboxMessage, until: datetime, reason: str) -> None:
    """Send it later; that was no attempt."""
    _ours(message).update(
        state=State.WAITING,
        not_before=until,
        attempts=F("attempts") - 1,
        reason=reason[:60],
        lease_expires_at=None,
        sent_at=None,
    )


def _failed(message: OutboxMessage, reason: str, now: datetime) -> None:
    """Try again later, five times in all; an address that does not exist is not tried again."""
    changes: dict[str, Any] = {"reason": reason[:60], "lease_expires_at": None, "sent_at": None}
    if reason == channels.BOUNCED:
        _ours(message).update(state=State.BOUNCED, **changes)
        address = unsubscribe.address_of(message.shopper, message.channel)
        if address:
            unsubscribe.record_bounce(message.channel, address, "hard")
        return
    if message.attempts >= MAX_ATTEMPTS:
        _ours(message).update(state=State.FAILED, **changes)
        return
    _ours(message).update(state=State.WAITING, not_before=now + BACKOFF[message.attempts - 1], **changes)
