"""Trains in this process, to be killed from outside at any moment, or dies by itself between two steps of publishing.

``python -m tests.concurrency.train_crash FOLDER prepare`` writes a small shop to learn from;
``… FOLDER train`` queues a training and does it; ``… FOLDER die [--unguarded]`` the same, but it kills itself when the
versions are registered and none is promoted yet; ``… FOLDER look`` prints what is there as JSON;
``… FOLDER recover`` lets the lease run out, does what waits, and prints the same. FOLDER keeps the models.
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


def prepare() -> None:
    from tests.worker import population

    population.build()


def train(*, die: bool, unguarded: bool) -> None:
    from personalization.learning import jobs, registry
    from personalization.types import JobKind
    from tests.concurrency import arena
    from tests.worker import population
    from worker.runner import run_job

    job = jobs.enqueue(JobKind.TRAIN, {**population.QUICK, "min_exposures": 300}, cutoff_at=population.END)
    print("training", flush=True)
    with ExitStack() as stack:
        if die:
            stack.enter_context(mock.patch.object(registry, "promote", _die))
        if unguarded:
            stack.enter_context(arena.without_transactions())
            stack.enter_context(arena.without_row_locks())  # there are none outside of a transaction
        run_job(job)


def _die(*args: Any, **kwargs: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def recover() -> None:
    from datetime import timedelta

    from django.utils import timezone

    from personalization.learning import jobs
    from personalization.models import Job
    from worker.runner import run_job

    jobs.sweep(timezone.now() + 2 * jobs.LEASE + timedelta(seconds=1))
    for job in Job.objects.filter(state="queued").order_by("pk"):
        run_job(job)


def look() -> None:
    """Print each job's state and attempts, what is half done, and which champions cannot be read back."""
    from personalization.exceptions import PersonalizationError
    from personalization.models import Job, ModelVersion
    from personalization.types import ModelTask
    from worker.versions import Loaded

    half: list[str] = []
    for job in Job.objects.filter(kind="train"):
        made = set(ModelVersion.objects.filter(job=job).values_list("pk", flat=True))
        said = set(job.result.get("versions", []))
        if made != said:
            half.append(f"job {job.pk} ({job.state}) told of versions {sorted(said)}, there are {sorted(made)}")
    champions = list(ModelVersion.objects.filter(state=ModelVersion.State.CHAMPION))
    tasks = sorted(version.task for version in champions)
    done = Job.objects.filter(kind="train", state="succeeded").exists()
    if tasks != (["preference", "response"] if done else []):
        half.append(f"a training {'has' if done else 'has not'} ended, and the champions are those of {tasks}")
    for version in champions:
        if version.task == ModelTask.RESPONSE:
            try:
                Loaded(version)
            except PersonalizationError as error:
                half.append(f"{version}: {error.message}")
    states = list(Job.objects.filter(kind="train").order_by("pk").values_list("state", "attempts"))
    print(json.dumps({"jobs": states, "half": half}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("verb", choices=("prepare", "train", "die", "look", "recover"))
    parser.add_argument("--unguarded", action="store_true")
    options = parser.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    django.setup()
    from django.conf import settings

    from personalization import conf

    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "ARTIFACTS": options.folder}
    conf.get.cache_clear()
    if options.verb == "prepare":
        prepare()
    elif options.verb in {"train", "die"}:
        train(die=options.verb == "die", unguarded=options.unguarded)
    else:
        if options.verb == "recover":
            recover()
        look()


if __name__ == "__main__":
    main()
