"""manage.py board: how good each estimator is, from one temporal evaluation; what the gate said; or a model card."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError, CommandParser

from personalization.exceptions import NotEnoughData
from personalization.learning import card, registry
from personalization.learning.board import board
from personalization.management.arguments import AppCommand
from worker.management.console import board_tables, card_lines, gate_tables, hindsight_lines, print_all
from worker.train import population_of


class Command(AppCommand):
    help = "Show the board: metrics with 95 % intervals, the champion marked."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--population")
        parser.add_argument("--json", action="store_true")
        parser.add_argument("--card", type=int, metavar="VERSION", help="Show this version's model card instead.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["card"] is not None:
            version = registry.version(options["card"])
            if version is None:
                raise CommandError(
                    f"There is no version {options['card']}. `manage.py board --json` tells their numbers."
                )
            self.stdout.write("\n".join(card_lines(card.build(version))))
            return
        try:
            population = population_of(options["population"])
        except NotEnoughData as error:
            raise CommandError(error.message) from None
        rows = board(population)
        if not rows:
            raise CommandError(f"Nothing has been trained for {population!r} yet. Run `manage.py train` first.")
        if options["json"]:
            told = [asdict(row) | {"gate": {check.name: check.sentence for check in row.checks}} for row in rows]
            self.stdout.write(json.dumps(told, default=str))
        else:
            print_all(*board_tables(rows, population), *gate_tables(rows), *hindsight_lines(population))
