"""Makes a batch of codes in this process and dies in the middle of a chunk; or goes on with it, and tells the books.

``python -m tests.concurrency.code_crash die [--unguarded]`` prints the batch's key and is gone;
``… recover BATCH`` makes what is missing and prints what is there as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
from contextlib import ExitStack
from typing import Any
from unittest import mock

import django

SIZE = 50
CHUNK = 10


def die(*, unguarded: bool) -> None:
    """Make two chunks, and die in the third when its codes are stored and not yet counted on the campaign."""
    from personalization.campaigns import batches, liability
    from personalization.learning import handlers
    from tests.concurrency import arena
    from tests.support import build

    batch = batches.create_batch(build.offer(), SIZE)
    print(batch.pk, flush=True)
    calls = 0
    counted = liability.add

    def fatal(*args: Any) -> bool:
        nonlocal calls
        calls += 1
        if calls == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return counted(*args)

    assert batch.job is not None
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(batches, "CHUNK", CHUNK))
        stack.enter_context(mock.patch.object(liability, "add", fatal))
        if unguarded:
            stack.enter_context(arena.without_transactions())
        handlers.run_here(batch.job)


def recover(key: int) -> None:
    """Go on as the worker after next would: the lease runs out, the job is taken again."""
    from datetime import timedelta

    from django.utils import timezone

    from personalization.campaigns import batches
    from personalization.learning import handlers, jobs
    from personalization.models import CodeBatch, Coupon

    before = Coupon.objects.filter(batch=key).count()
    jobs.sweep(timezone.now() + timedelta(hours=1))
    batch = CodeBatch.objects.select_related("offer__campaign", "job").get(pk=key)
    job = batches.resume(batch)
    ended = handlers.run_here(job) if job is not None else None
    batch = CodeBatch.objects.select_related("offer__campaign").get(pk=key)
    books = {
        "before": before,
        "job": "" if ended is None else ended.state,
        "codes": Coupon.objects.filter(batch=batch).count(),
        "generated": batch.generated_count,
        "issued": batch.offer.issued_count,
        "liability": batch.offer.campaign.liability_minor,
    }
    print(json.dumps(books))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--unguarded", action="store_true")
    parser.add_argument("verb", choices=("die", "recover"))
    parser.add_argument("batch", nargs="?", type=int, default=0)
    options = parser.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    django.setup()
    if options.verb == "die":
        die(unguarded=options.unguarded)
    else:
        recover(options.batch)


if __name__ == "__main__":
    main()
