"""manage.py tune: search for better settings of estimators, in this process; go on where an earlier search stopped."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser
from rich.table import Table

from personalization.exceptions import NotEnoughData
from personalization.learning import jobs, tuning
from personalization.learning.jobs import Job
from personalization.learning.tuning import NothingInForce, TuningRun
from personalization.management.arguments import AppCommand, at_least_one, seed
from personalization.management.jobs import HELD
from personalization.types import JobState
from worker.management.console import moment, print_all
from worker.management.here import run_here
from worker.runner import ended_well
from worker.train import population_of

SHOWN = 5


class Command(AppCommand):
    help = (
        "Search for better settings on the past, adopt those that an unseen fold confirms; the next training uses them."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("estimators", nargs="*", metavar="ESTIMATOR", help=f"of {' '.join(tuning.searchable())}")
        parser.add_argument("--population", help="whose shoppers to learn from; needed if there are several data sets")
        parser.add_argument("--minutes", type=float, help=f"for all of them together (default: {tuning.MINUTES})")
        parser.add_argument("--trials", type=int, help="stop at so many trials of each, those of earlier runs included")
        parser.add_argument("--seed", type=seed(tuning.MOST_SEED), default=0, help=f"0 to {tuning.MOST_SEED}")
        parser.add_argument("--until", help="use nothing that happened after this moment")
        parser.add_argument("--anew", action="store_true", help="begin a new search, on today's data")
        parser.add_argument("--min-exposures", type=at_least_one, help="as for training")
        parser.add_argument(
            "--withdraw", type=int, metavar="SEARCH", help="take the settings of this search out of force"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["withdraw"] is not None:
            self._withdraw(options["withdraw"])
            return
        names = options["estimators"]
        if not names or (strange := [name for name in names if name not in tuning.searchable()]):
            told = f"There is nothing to search for in {', '.join(strange)}." if names else "Whose settings?"
            raise CommandError(f"{told} Name one or more of: {' '.join(tuning.searchable())}.")
        try:
            population = population_of(options["population"])
        except NotEnoughData as error:
            raise CommandError(error.message) from None
        until = moment(options["until"]) if options["until"] else None
        params = _params(population, options)
        failed = [name for name in names if not self._search({**params, "estimator": name}, until)]
        if failed:
            raise CommandError(f"Nothing came of {', '.join(failed)}.")

    def _withdraw(self, number: int) -> None:
        run = tuning.numbered(number)
        if run is None:
            raise CommandError(f"There is no search {number}. {_in_force()}")
        try:
            tuning.withdraw(run)
        except NothingInForce:
            raise CommandError(f"Nothing that search {number} found is in force. {_in_force()}") from None
        self.stdout.write(f"The settings of search {run.pk} are withdrawn: {run.estimator} trains as shipped again.")

    def _search(self, params: dict[str, Any], until: datetime | None) -> bool:
        """Do one search to its end; return whether it came to one."""
        name, population = params["estimator"], params["population"]
        job = self._job(params, until)
        kept = f"The trials of {name} that are done are kept: the same command goes on."
        job = run_here(job, f"Searching ({population})", kept)
        if not ended_well(job):
            self.stderr.write(f"{name}: {job.error or f'the job ended as {job.state}'}")
            return False
        run = tuning.run_of(job)
        if run is not None:
            print_all(_table(run), tuning.sentence(run))
        return True

    def _job(self, params: dict[str, Any], until: datetime | None) -> Job:
        """Queue the search, or take up one that nobody does any more."""
        jobs.sweep()
        job = tuning.ask(params, cutoff_at=until)
        if job is not None:
            return job
        name = params["estimator"]
        earlier = tuning.open_search(params["population"], name)
        if earlier is None or earlier.state != JobState.QUEUED.value:
            raise CommandError(f"{name} is being searched for already. {HELD}")
        self.stdout.write(f"Going on with job {earlier.pk}, which was interrupted, as it was asked for.")
        return earlier


def _in_force() -> str:
    """Say which searches could be withdrawn."""
    found = [f"{run.pk} ({run.estimator}, {run.population})" for run in tuning.withdrawable()]
    return f"In force: {', '.join(found)}." if found else "No search's settings are in force."


def _params(population: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return what every search of this command is asked for."""
    minutes, trials = options["minutes"], options["trials"]
    if minutes is not None and not 0 < minutes <= tuning.MOST_MINUTES:
        raise CommandError(f"A search takes more than 0 and at most {tuning.MOST_MINUTES} minutes.")
    if trials is not None and trials < 2:
        raise CommandError("Two trials at least: the first one is what is in force.")
    if minutes is None and trials is None:
        minutes = tuning.MINUTES
    params: dict[str, Any] = {"population": population, "seed": options["seed"]}
    if minutes is not None:
        params["minutes"] = minutes / len(options["estimators"])
    for name in ("trials", "min_exposures"):
        if options[name] is not None:
            params[name] = options[name]
    return {**params, "anew": True} if options["anew"] else params


def _table(run: TuningRun) -> Table:
    """Return the best trials beside the start, with what they change."""
    done = tuning.trials(run)
    told = f"search {run.pk} · {run.task} · {run.estimator} · {len(done)} trials, {run.folds} folds ({run.split})"
    table = Table(title=told, title_justify="left")
    for heading in ("trial", "", run.metric, "seconds", "settings"):
        table.add_column(heading, no_wrap=heading != "settings")
    for trial in [*done[:1], *(each for each in tuning.ranked(run, done) if each.number)][: SHOWN + 1]:
        changed = {name: value for name, value in trial.settings.items() if run.start.get(name) != value}
        what = "in force" if trial.number == 0 else "best" if trial.number == run.best else ""
        table.add_row(
            str(trial.number), what, f"{tuning.mean(trial):.5f}", f"{trial.seconds:.1f}",
            "  ".join(f"{name} {tuning.plain(value)}" for name, value in changed.items()) or "as it stands",
        )  # fmt: skip
    return table
