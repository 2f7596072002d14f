"""``manage.py demo``: build a simulated shop, learn from it, hold a forecast against the truth, and serve it.

Every part can be interrupted and goes on at the next start; a later start skips what is done.
"""

from __future__ import annotations

import shutil
from argparse import ArgumentParser
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command, get_commands
from django.core.management.base import CommandError
from django.db import connection
from django.db.models import BigIntegerField
from django.utils.translation import gettext as _

from personalization import api
from personalization.management.arguments import AppCommand, port, seed
from shop.management import serving
from shop.management.progress import Terminal
from shop.models import SimulationInfo
from shop.simulation import build, future
from shop.simulation.logins import Login, admin_login, shopper_logins
from shop.simulation.world import SCALES

DEFAULT_SEED = 2024
DEFAULT_PORT = 8000
INTERRUPTED = 130
"""The exit status that a shell expects after Ctrl-C."""


MOST_SEED = BigIntegerField.MAX_BIGINT
"""The column of the simulation's seed holds no larger one."""


class Command(AppCommand):
    """Everything from an empty database to a running shop."""

    help = "Build a simulated shop, train on it, print the board and a forecast beside the truth, and serve it."
    requires_system_checks = []
    terminal: Terminal

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--no-serve", action="store_true", help="stop after the forecast")
        parser.add_argument("--seed", type=seed(MOST_SEED), help=f"seed of a new simulation (default {DEFAULT_SEED})")
        parser.add_argument("--scale", choices=sorted(SCALES), help="size of a new simulation (default full)")
        parser.add_argument("--fresh", action="store_true", help="forget the demo's data first, and build it again")
        parser.add_argument("--run-wave", action="store_true", help="let the next wave happen, too (simulated)")
        parser.add_argument("--port", type=port, default=DEFAULT_PORT, help=f"where to serve (default {DEFAULT_PORT})")

    def handle(self, *args: Any, **options: Any) -> None:
        self.terminal = Terminal(self.stdout)
        serves = not options["no_serve"]
        if serves and not serving.is_free(options["port"]):
            raise CommandError(
                _("Port %(port)d is taken. Stop what listens there, or choose another one with --port.")
                % {"port": options["port"]}
            )
        with serving.ends_on_sigterm():
            try:
                simulation = self._prepare(options)
                self._learn(simulation)
                self._forecast(simulation, run=options["run_wave"])
                logins = [admin_login(), *shopper_logins(simulation.world.people)]
                if serves:
                    self._serve(options["port"], logins)
                else:
                    self._show_logins(logins)
            except KeyboardInterrupt:
                self.terminal.say()
                self.terminal.say(_("Stopped. The same command goes on from here."))
                raise SystemExit(INTERRUPTED) from None

    def _prepare(self, options: dict[str, Any]) -> build.Simulation:
        """Return the finished simulation: the one that is there, or a new one."""
        say = self.terminal.say
        self.terminal.headline(_("The simulated shop"))
        call_command("migrate", verbosity=0, interactive=False)
        if options["fresh"]:
            self._forget()
        try:
            simulation = build.existing()
        except build.OtherVersion as error:
            raise CommandError(
                _("The simulation here was made by another version of this program. Start over with --fresh.")
            ) from error
        if simulation is None:
            simulation = self._begin(options)
        elif options["seed"] not in (None, simulation.info.seed) or options["scale"] not in (
            None,
            simulation.world.scale.name,
        ):
            say(_("A simulation is there already; --seed and --scale count for a new one. Start over with --fresh."))
        if build.is_complete(simulation):
            say(_("Built before: seed %(seed)d. Its data is kept.") % {"seed": simulation.info.seed})
        build.build(simulation, self.terminal)
        say(simulation.info.description)
        return simulation

    def _begin(self, options: dict[str, Any]) -> build.Simulation:
        seed = DEFAULT_SEED if options["seed"] is None else options["seed"]
        try:
            return build.begin(seed, options["scale"] or "full")
        except build.NotASimulation as error:
            raise CommandError(
                _("This database holds a shop of its own. Give the demo another one with VAR_DIR or DATABASE_URL.")
            ) from error

    def _forget(self) -> None:
        """Empty the database, if it is the demo's own."""
        if not settings.DEBUG:
            raise CommandError(_("--fresh empties the whole database; it works with DEBUG on only."))
        if not SimulationInfo.objects.exists():
            return
        if connection.vendor == "sqlite":  # which empties a table row by row, and the audit log lets none go
            with connection.cursor() as cursor:
                cursor.execute("DROP TRIGGER IF EXISTS personalization_auditentry_no_delete")
        call_command("flush", verbosity=0, interactive=False)  # and makes the trigger again
        artifacts = Path(settings.PERSONALIZATION["ARTIFACTS"]).resolve()
        if artifacts.is_relative_to(Path(settings.VAR_DIR).resolve()):
            shutil.rmtree(artifacts, ignore_errors=True)
        self.terminal.say(_("The earlier demo is forgotten."))

    def _learn(self, simulation: build.Simulation) -> None:
        """Train and score unless an earlier run did; training shows the board, which is shown again else."""
        self.terminal.headline(_("What was learnt (from simulated data)"))
        if "train" not in get_commands():
            self.terminal.say(_("Nothing is trained here: the worker is not installed (WITH_WORKER)."))
            return
        population = ("--population", settings.PERSONALIZATION.get("POPULATION", "shop"))
        if simulation.done("train"):
            self._call("board", *population)
        self._once(simulation, "train", lambda: self._call("train", *population))
        self._once(simulation, "score", lambda: self._call("score", *population))

    def _forecast(self, simulation: build.Simulation, *, run: bool) -> None:
        """Forecast the next wave, and put the simulator's own expectation beside it."""
        if "forecast" not in get_commands():
            return
        self.terminal.headline(_("The next wave: forecast and truth (simulation)"))
        campaign = api.find_campaign(simulation.info.truth["next_wave"]["campaign"])
        if campaign is None:
            self.terminal.say(_("The campaign has been deleted."))
            return
        self._once(simulation, "forecast", lambda: self._call("forecast", str(campaign.pk)))
        if run:
            self._once(simulation, "run_wave", lambda: future.run_wave(simulation, campaign))
        lines = api.compare_forecast(campaign)
        for line in future.beside_truth(lines, simulation.info.truth["expected"]):
            self.terminal.say(line)

    def _once(self, simulation: build.Simulation, stage: str, work: Callable[[], object]) -> None:
        if not simulation.done(stage):
            work()
            simulation.mark(stage)

    def _call(self, name: str, *arguments: str) -> None:
        call_command(name, *arguments, stdout=self.stdout, stderr=self.stderr)

    def _serve(self, port: int, logins: list[Login]) -> None:
        """Run worker and web server until Ctrl-C."""
        connection.close()
        log = Path(settings.VAR_DIR) / "worker.log"
        with ExitStack() as stack:
            if "worker" in settings.INSTALLED_APPS:
                stack.enter_context(serving.worker(log))
            try:
                server = stack.enter_context(serving.web(port))
            except serving.DidNotStart as error:
                raise CommandError(_("The web server did not start; its last lines are above.")) from error
            self.terminal.headline(_("The shop is open: http://127.0.0.1:%(port)d/") % {"port": port})
            self._show_logins(logins)
            self.terminal.say(_("The worker's log is %(path)s. Ctrl-C stops both.") % {"path": log})
            try:
                server.wait()
            except KeyboardInterrupt:
                self.terminal.say()
                self.terminal.say(_("Closed. The same command opens the shop again."))

    def _show_logins(self, logins: list[Login]) -> None:
        self.terminal.say()
        self.terminal.say(_("Sign in as (new passwords at every start):"))
        name = max(len(login.name) for login in logins)
        for login in logins:
            self.terminal.say(f"  {login.name:<{name}}  {login.password}  {login.about}")
