"""What our commands share: what a value may be that is typed behind them, and a refusal in one sentence."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, OperationalError, ProgrammingError
from django.utils.translation import gettext as _

from personalization.insight import schema

TYPED_WRONGLY = 2
"""The exit status of a command that was typed wrongly, as argparse has it."""


class AppCommand(BaseCommand):
    """A command that says in one sentence what is wrong with an argument; how it is used stands in ``--help``.

    Before ``migrate`` it says that, instead of which table the database misses.
    """

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except (OperationalError, ProgrammingError) as error:  # SQLite's word for a missing table, and PostgreSQL's
            told = _unmigrated()
            if not told:
                raise
            raise CommandError(told) from error

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.register("type", int, whole_number)
        parser.register("type", float, number)
        parser.error = partial(_refuse, parser, parser.error)  # type: ignore[method-assign]
        return parser


def _unmigrated() -> str:
    """Return what to do about the tables; empty if they are there, or a database that is away tells nothing."""
    try:
        return schema.unmigrated()
    except DatabaseError:
        return ""


def _refuse(parser: CommandParser, called_from_code: Callable[[str], NoReturn], message: str) -> NoReturn:
    """End the process with the reason alone: argparse puts the usage before it, which may fill a screen."""
    if parser.called_from_command_line:
        parser.exit(TYPED_WRONGLY, f"{parser.prog}: {message.removeprefix('argument ')}\n")
    called_from_code(message)


def whole_number(value: str) -> int:
    """Read a whole number."""
    try:
        return int(value)
    except ValueError:
        raise ArgumentTypeError(_("%(value)s is not a whole number") % {"value": repr(value)}) from None


def number(value: str) -> float:
    """Read a number; infinity and what is no number at all are none."""
    try:
        found = float(value)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise ArgumentTypeError(_("%(value)s is not a number") % {"value": repr(value)})
    return found


def at_least_one(value: str) -> int:
    """Read a count; zero and less would ask for nothing."""
    try:
        found = int(value)
    except ValueError:
        found = 0
    if found < 1:
        raise ArgumentTypeError(_("%(value)s is not a whole number from 1 on") % {"value": repr(value)})
    return found


def seed(most: int) -> Callable[[str], int]:
    """Return what reads a seed from 0 to ``most``: what everything that draws with it, or stores it, takes."""

    def read(value: str) -> int:
        try:
            found = int(value)
        except ValueError:
            found = -1
        if not 0 <= found <= most:
            told = _("%(value)s is no seed: a seed is a whole number from 0 to %(most)s")
            raise ArgumentTypeError(told % {"value": repr(value), "most": most})
        return found

    return read


def port(value: str) -> int:
    """Read a port to serve on."""
    try:
        found = int(value)
    except ValueError:
        found = 0
    if not 1 <= found <= 65535:
        raise ArgumentTypeError(
            _("%(value)s is no port: a port is a whole number from 1 to 65535") % {"value": repr(value)}
        )
    return found
