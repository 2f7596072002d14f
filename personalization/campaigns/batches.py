"""Codes by the thousand: drawn in a job, a chunk a transaction, so that a kill loses nothing and repeats nothing.

A chunk's codes, the batch's count of them, the offer's and the campaign's counters change together or not at all;
whoever goes on reads from the batch how far it came. Also codes with a meaning, which everybody may know.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_noop
from django.views.decorators.debug import sensitive_variables

from personalization.campaigns import audit, codes, coupons, liability
from personalization.exceptions import PersonalizationError
from personalization.learning import jobs
from personalization.learning.handlers import Stage
from personalization.models import CodeBatch, Coupon, Job, Offer
from personalization.types import JobKind, OfferKind

CHUNK = 1000
"""Codes a transaction: long enough to be quick, short enough that a shop on SQLite waits some tenths of a second."""
INSERT = 500
MOST = 10_000_000
_VANITY = re.compile(r"[A-Z0-9_]{4,40}")


class BatchRefused(PersonalizationError):
    """These codes cannot be made."""

    code = "batch_refused"


class VanityRefused(PersonalizationError):
    """This code cannot be added."""

    code = "vanity_refused"


def create_batch(
    offer: Offer, size: int, *, max_uses: int = 1, expires_at: datetime | None = None, by: Any = None
) -> CodeBatch:
    """Queue a job that makes ``size`` codes that anybody may use, each ``max_uses`` times; raises BatchRefused.

    ``expires_at`` left out: until the offer ends. What the offer may still issue is checked here, so that a batch that
    cannot fit is refused at once, and again with every chunk.
    """
    if not 1 <= size <= MOST:
        raise BatchRefused(gettext_noop("A batch has from 1 to %(most)s codes."), params={"most": f"{MOST:,}"})
    _require_usable(offer, max_uses, expires_at)
    offer = Offer.objects.select_related("campaign").get(pk=offer.pk)
    if offer.max_issued is not None and offer.issued_count + size > offer.max_issued:
        raise _no_room(offer, size)
    with transaction.atomic():
        batch = CodeBatch.objects.create(
            offer=offer, size=size, max_uses=max_uses, expires_at=expires_at or _until(offer), created_by=by
        )
        batch.job = jobs.enqueue(JobKind.CODES, {"batch": batch.pk}, by=by)
        batch.save(update_fields=["job"])
        audit.note(by, batch, f"ordered {size} codes for offer {offer.pk}")
    return batch


def resume(batch: CodeBatch, *, by: Any = None) -> Job | None:
    """Queue what is missing of a batch whose job failed or was cancelled; None if it is complete.

    A job of this batch that still waits or runs is returned as it is.
    """
    if batch.generated_count >= batch.size:
        return None
    job: Job | None = batch.job
    if job is None or not (jobs.retry(job) or job.finished_at is None):
        job, _new = jobs.ask(JobKind.CODES, {"batch": batch.pk}, by=by)
        CodeBatch.objects.filter(pk=batch.pk).update(job=job)
    job.refresh_from_db()
    return job


def run(job: Job, params: dict[str, Any], stage: Stage, until: datetime | None = None) -> None:
    """Do a CODES job: go on where the batch stands, and end the job when it is complete."""
    batch = CodeBatch.objects.select_related("offer__campaign").filter(pk=params.get("batch", 0)).first()
    if batch is None:
        raise BatchRefused(gettext_noop("There is no such batch any more."))
    worst = liability.of_issue(batch.offer, 1)
    while batch.generated_count < batch.size:
        stage(gettext_noop("generating codes"), batch.generated_count / batch.size)
        drawn = _draw(batch, min(CHUNK, batch.size - batch.generated_count), worst * batch.max_uses)
        _store(job, batch, drawn)
        batch.refresh_from_db(fields=["generated_count"])
    jobs.finish(job, {"batch": batch.pk, "codes": batch.generated_count})


@sensitive_variables("code", "drawn")
def _draw(batch: CodeBatch, count: int, worst: int) -> list[Coupon]:
    """Return coupons that are not stored yet. This is the slow part: no transaction waits for it."""
    drawn = []
    now = timezone.now()
    for _ in range(count):
        code = codes.generate()
        drawn.append(
            Coupon(
                offer_id=batch.offer_id,
                batch=batch,
                origin=Coupon.Origin.BATCH,
                code_digest=codes.digest(code),
                code_ciphertext=codes.seal(code),
                max_uses=batch.max_uses,
                liability_minor=worst,
                issued_at=now,
                expires_at=batch.expires_at,
            )
        )
    return drawn


def _store(job: Job, batch: CodeBatch, drawn: list[Coupon]) -> None:
    """Store a chunk with all that counts it, under the job's fence; nothing if another process went on meanwhile."""
    seen, count = batch.generated_count, len(drawn)
    with transaction.atomic():
        ours = CodeBatch.objects.filter(pk=batch.pk, generated_count=seen, size__gte=seen + count)
        if not ours.update(generated_count=F("generated_count") + count):
            return
        jobs.heartbeat(job)  # raises LeaseLost: a job that was cancelled or taken over makes no more codes
        Coupon.objects.bulk_create(drawn, batch_size=INSERT)
        room = Q(max_issued__isnull=True) | Q(max_issued__gte=F("issued_count") + count)
        if not Offer.objects.filter(room, pk=batch.offer_id).update(issued_count=F("issued_count") + count):
            raise _no_room(Offer.objects.get(pk=batch.offer_id), batch.size - seen)
        if not liability.add(batch.offer, sum(coupon.liability_minor for coupon in drawn)):
            raise BatchRefused(
                gettext_noop("The campaign's budget does not cover what these codes could cost at worst.")
            )


@sensitive_variables("code", "plain")
def add_vanity(offer: Offer, code: str, *, max_uses: int, expires_at: datetime | None = None, by: Any = None) -> Coupon:
    """Add a code with a meaning (``AUTUMN-25``) that everybody may know; raises VanityRefused or ClaimRefused.

    Capitals, spaces and dashes do not matter when it is typed. Each shopper uses it as often as the offer says
    (``uses_per_shopper``), all together ``max_uses`` times.
    """
    _require_usable(offer, max_uses, expires_at)
    plain = codes.normalise(code)
    if len(code) > codes.MAX_INPUT or not _VANITY.fullmatch(plain):
        raise VanityRefused(gettext_noop("A code has 4 to 40 letters from A to Z, digits or underscores."))
    taken = VanityRefused(gettext_noop("There is such a code already. Choose another one."))
    if Coupon.objects.filter(code_digest__in=codes.digests(code)).exists():
        raise taken
    try:
        with transaction.atomic():
            coupon = coupons.issue(
                offer,
                origin=Coupon.Origin.VANITY,
                code=code.strip().upper(),
                max_uses=max_uses,
                expires_at=expires_at or _until(offer),
            )
            audit.note(by, offer, f"added a code with a meaning: coupon {coupon.pk}")
    except IntegrityError as error:
        # Somebody added it at the same moment; the database's own message is kept out of logs.
        if Coupon.objects.filter(code_digest__in=codes.digests(code)).exists():
            raise taken from None
        raise error
    return coupon


def _require_usable(offer: Offer, max_uses: int, expires_at: datetime | None) -> None:
    if offer.kind == OfferKind.ANNOUNCEMENT:
        raise BatchRefused(gettext_noop("An announcement has no codes."))
    if max_uses < 1:
        raise BatchRefused(gettext_noop("A code can be used once at least."))
    if expires_at is not None and expires_at <= timezone.now():
        raise BatchRefused(gettext_noop("The codes would have expired already."))


def _until(offer: Offer) -> datetime:
    """Return when the offer ends. Hours after the claim do not count here: nobody has claimed these codes."""
    ends = offer.campaign.ends_at
    return min(ends, offer.ends_at) if offer.ends_at is not None else ends


def _no_room(offer: Offer, size: int) -> BatchRefused:
    left = max((offer.max_issued or 0) - offer.issued_count, 0)
    return BatchRefused(
        gettext_noop("This offer may issue %(left)s more codes, and %(size)s are wanted. Raise its limit first."),
        params={"left": f"{left:,}", "size": f"{size:,}"},
    )
