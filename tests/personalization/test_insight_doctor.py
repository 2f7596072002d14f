"""What a shop is told of its models while it is young, and what doctor repeats of a report that is no longer new."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.utils import timezone

from personalization.insight import monitoring, service
from personalization.insight.doctor import examine
from personalization.insight.findings import BAD, GOOD, HINT, Finding
from personalization.insight.observations import Observation
from personalization.models import Decision, MonitoringReport
from tests.personalization.builders import make_scores, make_shopper

pytestmark = pytest.mark.django_db
LOOKED = datetime(2026, 3, 1, 6, 30, tzinfo=UTC)


def decide(amount: int, fallback: str) -> None:
    shopper = make_shopper()
    Decision.objects.bulk_create(
        Decision(slot="home_hero", shopper=shopper, fallback=fallback, eligible=[], excluded={}, chosen=[], policy="p")
        for _number in range(amount)
    )


def coverage() -> list[tuple[str, str]]:
    found = monitoring.observations(monitoring.health("shop", timezone.now()))
    return [(seen.code, seen.level) for seen in found if seen.code.startswith("coverage")]


def report(*found: Observation) -> None:
    MonitoringReport.objects.create(
        kind="health", population="shop", at=LOOKED, figures={}, findings=[seen.as_json() for seen in found]
    )


def told() -> list[Finding]:
    return [finding for finding in examine() if finding.text.startswith("Models in service")]


def test_a_dozen_decisions_are_no_alarm() -> None:
    """The control: as many as are needed, and the same share is told as wrong."""
    make_scores()
    decide(9, "not_scored")
    decide(3, "")
    assert coverage() == [("coverage_few", GOOD)]
    decide(service.LEAST_DECISIONS - 12, "not_scored")
    assert coverage() == [("coverage", BAD)]


def test_decisions_from_before_there_were_scores_count_for_nothing() -> None:
    make_scores()
    decide(500, "no_scores")
    assert coverage() == [("coverage_unknown", GOOD)]
    decide(service.LEAST_DECISIONS, "")
    assert coverage() == [("coverage", GOOD)]
    found = service.coverage("shop", timezone.now())
    assert (found.share, found.fallbacks) == (1.0, {"no_scores": 500})


def test_doctor_dates_what_it_repeats_and_leaves_out_what_has_passed() -> None:
    report(
        Observation("no_scores", HINT), Observation("no_champion", HINT),
        Observation("late_data", HINT, figures={"changed": 9, "rows": 100}),
    )  # fmt: skip
    make_scores()
    (found,) = told()
    assert found == Finding(
        HINT,
        "Models in service, when last looked at on 2026-03-01 06:30: 9 of 100 scores come out differently with what "
        "has arrived since they were computed.",
    )


def test_doctor_tells_what_holds_now_though_no_report_says_so() -> None:
    report()
    assert [finding.text for finding in told()] == [
        "Models in service: No response model is in service.", "Models in service: No scores are published.",
    ]  # fmt: skip
    make_scores()
    assert told() == [Finding(GOOD, "Models in service: nothing to report on 2026-03-01.")]
