"""Plays one race in this process, guarded and then unguarded, and prints what came of it as JSON.

``python -m tests.concurrency.play MODULE.CLASS --rounds N`` with ``DATABASE_URL`` naming a migrated scratch
database; the unguarded half leaves that database without its constraints, so it is thrown away afterwards.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os

import django

CONTROL_ROUNDS = 60
"""Rounds within which an unguarded race must overrun; the first does, as a rule."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("race", nargs="?")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--processes", action="store_true", help="each contender is a process, not a thread")
    parser.add_argument("--storm", type=int, default=0, help="this many mixed operations, and the accounts after them")
    parser.add_argument("--unguarded", action="store_true", help="the storm without its guards")
    parser.add_argument("--migrate", action="store_true")
    options = parser.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    django.setup()
    if options.migrate:
        from django.core.management import call_command

        call_command("migrate", verbosity=0, run_syncdb=True)
    if options.storm:
        from tests.concurrency.races import storm

        print(json.dumps(storm.run(options.storm, unguarded=options.unguarded)))
    if options.race:
        from tests.concurrency import arena

        module, name = options.race.split(".")
        race = getattr(importlib.import_module(f"tests.concurrency.races.{module}"), name)()
        guarded = arena.play(race, options.rounds, processes=options.processes)
        with race.unguarded():
            unguarded = arena.play(race, CONTROL_ROUNDS, until_overrun=True, processes=options.processes)
        print(json.dumps({"guarded": guarded.as_dict(), "unguarded": unguarded.as_dict()}))


if __name__ == "__main__":
    main()
