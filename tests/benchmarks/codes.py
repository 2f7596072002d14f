"""Codes made per second in a batch, and whether the memory it takes depends on how many there are.

Value: 100,000 codes (``--full``: a million, ``--quick``: 2,000), a chunk a transaction, in a process of its own. Peer:
:func:`all_at_once` below, which draws them all and stores them with one ``bulk_create`` in one transaction, for a tenth
as many. In the notes: peak memory of a tenth and of all (the same, if it is flat), and the export of all as CSV.
``--embedded`` measures on SQLite, ``BENCHMARK_CODES`` says how many.
"""

from __future__ import annotations

import os
import sys

import django
from django.apps import apps

if not apps.ready:  # in the process that ``stage.apart`` starts
    django.setup()

from django.db import transaction

from personalization.campaigns import batches, exports
from personalization.learning import handlers
from personalization.models import CodeBatch, Coupon, Job, Offer
from tests.benchmarks import report, stage
from tests.support import build
from tests.support.scale import rounds

QUICK = 2_000
PEER = "every code in memory, one bulk_create, one transaction"


def in_chunks(offer_id: int, size: int) -> int:
    """Make a batch as its job does, and return its key."""
    batch = batches.create_batch(Offer.objects.select_related("campaign").get(pk=offer_id), size)
    assert batch.job is not None
    _succeed(batch.job)
    return batch.pk


def all_at_once(offer_id: int, size: int) -> int:
    """The peer."""
    offer = Offer.objects.select_related("campaign").get(pk=offer_id)
    with transaction.atomic():
        batch = CodeBatch.objects.create(offer=offer, size=size, generated_count=size)
        Coupon.objects.bulk_create(batches._draw(batch, size, 500))
        Offer.objects.filter(pk=offer_id).update(issued_count=size)
    return batch.pk


def export(batch_id: int) -> int:
    """Export a batch and return the file's size in bytes."""
    job = _succeed(exports.request_export(CodeBatch.objects.get(pk=batch_id)))
    return exports.download(job).stat().st_size


def _succeed(job: Job) -> Job:
    job = handlers.run_here(job)
    if job.error:
        raise RuntimeError(job.error)
    return job


def measure(quick: bool) -> report.Measurement:
    """Make a tenth, then all; then the peer's tenth; then export all."""
    size = QUICK if quick else int(os.environ.get("BENCHMARK_CODES") or rounds(100_000, 1_000_000))
    tenth = stage.apart(in_chunks, build.offer().pk, size // 10)
    every = stage.apart(in_chunks, build.offer().pk, size)
    peer = stage.apart(all_at_once, build.offer().pk, size // 10)
    written = stage.apart(export, every.result)
    batch = CodeBatch.objects.get(pk=every.result)
    rate, peer_rate = size / every.seconds, size // 10 / peer.seconds
    notes = {
        "codes": size,
        "stored": Coupon.objects.filter(batch=batch).count(),
        "seconds_to_make": round(every.seconds, 1),
        "grown_mb": {"a_tenth": tenth.grown_mb, "all": every.grown_mb, "peer_a_tenth": peer.grown_mb},
        "export": {
            "seconds": round(written.seconds, 1),
            "grown_mb": written.grown_mb,
            "megabytes": round(written.result / 1e6, 1),
        },
    }
    return report.Measurement(
        "codes", round(rate, 1), "codes/s", PEER, round(peer_rate, 1), round(rate / peer_rate, 3), notes=notes
    )


if __name__ == "__main__":
    embedded = "--embedded" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--embedded"]
    sys.exit(stage.main("codes", measure, server=not embedded))
