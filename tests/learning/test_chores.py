"""Chores: each runs, and one that fails stops no other."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from personalization.insight import monitoring
from personalization.learning import chores
from personalization.models import Job
from tests.personalization.builders import make_scores


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chores, "_CHORES", {})


@pytest.mark.usefixtures("registered")
def test_a_failing_chore_is_logged_and_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> int:
        raise ValueError("no disk")

    chores.register("first", lambda: 3)
    chores.register("broken", broken)
    chores.register("last", lambda: 0)
    assert chores.run_all() == {"first": 3, "broken": -1, "last": 0}
    assert "chore broken failed" in caplog.text


@pytest.mark.django_db
def test_the_look_at_the_models_is_queued_once_a_day_and_only_where_there_is_something(settings: Settings) -> None:
    assert monitoring.queue_due() == 0
    make_scores()
    assert monitoring.queue_due() == 1
    assert monitoring.queue_due() == 0
    tomorrow = timezone.now() + timedelta(hours=25)
    assert monitoring.queue_due(tomorrow) == 0, "the first one is still open"
    Job.objects.update(state="succeeded")
    assert monitoring.queue_due(tomorrow) == 1
    Job.objects.all().delete()
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "MONITOR_EVERY_HOURS": 0}
    assert monitoring.queue_due() == 0
