"""Sends the outbox in this process and dies at a chosen point, as ``kill -9`` would have it.

``python -m tests.concurrency.sender prepare N FOLDER`` writes messages to N shoppers;
``… send FOLDER [--die POINT]`` sends them as files, dying at the third message: before handing it over, after it,
or after it is written down; ``… later FOLDER`` sends what is left once every lease has run out, and prints what came
of each message as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
from datetime import timedelta
from typing import Any
from unittest import mock

import django

POINTS = ("before", "after", "written")


class FileChannel:
    """Hands a message over by appending its id to a file: what was handed over outlives the sender."""

    needs_address = False

    def send(self, message: Any) -> None:
        with open(os.environ["SENT_FILE"], "a", encoding="ascii") as file:
            file.write(message.message_id + "\n")


def prepare(count: int) -> None:
    from personalization.models import OutboxMessage
    from tests.support import build

    offer = build.offer()
    for number in range(count):
        OutboxMessage.objects.create(
            campaign=offer.campaign, shopper=build.shopper(), channel="file", dedupe_key=f"test:{number}"
        )


def die_at_the_third(point: str) -> Any:
    """Return a patch under which the third message kills this process at ``point``."""
    from django.utils.module_loading import import_string

    from personalization.campaigns import outbox

    calls = 0
    # Run as a script, this module is here twice: the channel is loaded by its path.
    owner: Any = import_string("tests.concurrency.sender.FileChannel") if point != "written" else outbox
    name = "send" if point != "written" else "_sent"
    original = getattr(owner, name)

    def fatal(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3 and point == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = original(*args)
        if calls == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    return mock.patch.object(owner, name, fatal)


def report() -> None:
    from personalization.models import Exposure, OutboxMessage

    with open(os.environ["SENT_FILE"], encoding="ascii") as file:
        handed = file.read().split()
    states = list(OutboxMessage.objects.values_list("state", flat=True))
    print(json.dumps({"handed": handed, "states": states, "exposures": Exposure.objects.count()}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("prepare", "send", "later"))
    parser.add_argument("file")
    parser.add_argument("--count", type=int, default=6)
    parser.add_argument("--die", choices=POINTS)
    options = parser.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    os.environ["SENT_FILE"] = options.file
    django.setup()
    from django.conf import settings
    from django.test import override_settings
    from django.utils import timezone

    from personalization.campaigns import outbox

    ours = {"CHANNELS": {"file": "tests.concurrency.sender.FileChannel"}, "HOLDOUT_PERCENT": 0.0, "QUIET_HOURS": []}
    with override_settings(PERSONALIZATION={**settings.PERSONALIZATION, **ours}):
        if options.what == "prepare":
            prepare(options.count)
        elif options.what == "later":
            outbox.send_due(timezone.now() + timedelta(minutes=30))
            report()
        elif options.die:
            with die_at_the_third(options.die):
                outbox.send_due()
        else:
            outbox.send_due()


if __name__ == "__main__":
    main()
