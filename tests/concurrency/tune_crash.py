"""Searches in this process, to be killed from outside at any moment.

``python -m tests.concurrency.tune_crash FOLDER prepare`` writes a small shop to learn from;
``… FOLDER tune [--trials N] [--unguarded] [--wait FILE]`` searches the settings of the transitions, from FILE on where
one is given (each trial's number is printed then as it is stored), and ends with 3 where another holds the search;
``… FOLDER look`` prints what is there as JSON; ``… FOLDER recover`` lets the lease run out, does what waits, and prints
the same.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import django

TRIALS = 8


def prepare() -> None:
    from tests.worker import population

    population.build()


def tune(trials: int, *, unguarded: bool, wait: str | None) -> int:
    from personalization.learning import jobs, tuning
    from personalization.types import JobKind
    from tests.worker import population
    from worker.runner import run_job

    store = tuning.record

    def record(job: Any, trial: Any) -> None:
        store(job, trial)
        if wait is not None:
            print(trial.number, flush=True)

    params = {"population": "shop", "estimator": "transitions", "trials": trials}
    print("ready", flush=True)
    while wait is not None and not Path(wait).exists():
        time.sleep(0.01)
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(tuning, "record", record))
        if unguarded:
            job: Any = jobs.Job.objects.create(kind=JobKind.TUNE.value, params=params, cutoff_at=population.END)
        else:
            job = tuning.ask(params, cutoff_at=population.END)
        if job is None:
            return 3
        run_job(job)
    return 0


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
    """Print the searches (what they tried, their verdict) and each job's state and attempts."""
    from personalization.learning import tuning
    from personalization.models import Job, TuningRun

    runs = [
        {
            "state": run.state,
            "verdict": [run.best, run.settings, run.gain, run.low, run.high, run.in_force],
            "trials": [[each.number, each.state, each.settings, each.figures] for each in tuning.trials(run)],
        }
        for run in TuningRun.objects.order_by("pk")
    ]
    jobs = [list(row) for row in Job.objects.order_by("pk").values_list("state", "attempts")]
    print(json.dumps({"runs": runs, "jobs": jobs}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("verb", choices=("prepare", "tune", "look", "recover"))
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--unguarded", action="store_true")
    parser.add_argument("--wait")
    options = parser.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    django.setup()
    from django.conf import settings

    from personalization import conf

    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "ARTIFACTS": options.folder}
    conf.get.cache_clear()
    if options.verb == "prepare":
        prepare()
    elif options.verb == "tune":
        sys.exit(tune(options.trials, unguarded=options.unguarded, wait=options.wait))
    else:
        if options.verb == "recover":
            recover()
        look()


if __name__ == "__main__":
    main()
