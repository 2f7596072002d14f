"""The Celery app of this project: ``celery -A worker worker -B -Q default,gpu``.

A host that has its own Celery app only needs the tasks (they are shared) and :data:`BEAT_SCHEDULE`.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

from celery import Celery
from django.core.exceptions import ImproperlyConfigured

if "DJANGO_SETTINGS_MODULE" not in os.environ:
    if find_spec("shop") is None or find_spec("shop.settings") is None:  # the demo shop is not installed with the app
        raise ImproperlyConfigured(
            "Name your shop's settings: DJANGO_SETTINGS_MODULE=yourshop.settings celery -A worker worker …"
        )
    os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"

POLL_SECONDS = 3.0
TICK_SECONDS = 60.0
BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    # A poll that nobody took in time is void: the next one asks again.
    "personalization-poll": {
        "task": "worker.tasks.run_next_job",
        "schedule": POLL_SECONDS,
        "options": {"expires": POLL_SECONDS, "queue": "gpu"},
    },
    "personalization-tick": {
        "task": "worker.tasks.tick",
        "schedule": TICK_SECONDS,
        "options": {"expires": TICK_SECONDS, "queue": "default"},
    },
}

app = Celery("worker")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.beat_schedule = {**BEAT_SCHEDULE, **(app.conf.beat_schedule or {})}
app.autodiscover_tasks(["worker"])
