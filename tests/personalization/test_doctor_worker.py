"""A job that nobody takes: the doctor gives a command that works in this project, and names what it lacks."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from personalization.insight.doctor import examine
from personalization.models import Job

pytestmark = pytest.mark.django_db


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> str:
    job = Job.objects.create(kind="score")
    Job.objects.filter(pk=job.pk).update(created_at=timezone.now() - timedelta(minutes=5))
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "yourshop.settings")
    monkeypatch.delenv("CELERY_BROKER_URL", raising=False)
    settings.CELERY_BROKER_URL = ""
    return "\n".join(finding.text for finding in examine())


def test_the_command_names_the_settings(told: str) -> None:
    assert "`DJANGO_SETTINGS_MODULE=yourshop.settings celery -A worker worker -B -Q default,gpu`" in told


def test_a_missing_broker_is_named(told: str, settings: Settings) -> None:
    assert "CELERY_BROKER_URL is not set" in told
    settings.CELERY_BROKER_URL = "redis://127.0.0.1:6379/0"
    assert "CELERY_BROKER_URL is not set" not in "\n".join(finding.text for finding in examine())
