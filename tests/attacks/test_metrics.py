"""Attempts at the metrics endpoint: what is not the token, what is no reading, names that would be lines."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from personalization.models import MonitoringReport

pytestmark = pytest.mark.django_db
METRICS = "/personalization/metrics/"
TOKEN = "a-token-of-the-monitoring-system"


@pytest.mark.parametrize("token", [TOKEN, "schlüssel-密钥-🔑", f"  {TOKEN}\n"])
def test_any_token_that_can_be_set_can_be_used(client: Client, settings: Any, token: str) -> None:
    """As it comes over the wire: its bytes, which the server reads as Latin-1."""
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "METRICS_TOKEN": token}
    wire = token.strip().encode().decode("latin-1")
    assert client.get(METRICS, headers={"authorization": f"Bearer {wire}"}).status_code == 200
    assert client.get(METRICS, headers={"authorization": f"Bearer {wire}x"}).status_code == 403


@pytest.mark.parametrize(
    "given", [" ", "\u20ac", "x" * 1_000_000, TOKEN[:-1], TOKEN.upper(), f"{TOKEN} {TOKEN}", "\x00"]
)
def test_nothing_but_the_token_will_do(client: Client, settings: Any, given: str) -> None:
    for set_to in (TOKEN, " ", "?"):
        settings.PERSONALIZATION = {**settings.PERSONALIZATION, "METRICS_TOKEN": set_to}
        answer = client.get(METRICS, headers={"authorization": f"Bearer {given}"})
        assert (answer.status_code, answer.content) == (403, b"Not allowed.\n")
        assert "no-store" in answer["Cache-Control"]


def test_metrics_are_only_read(client: Client, settings: Any) -> None:
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "METRICS_TOKEN": TOKEN}
    bearer = {"authorization": f"Bearer {TOKEN}"}
    head = client.head(METRICS, headers=bearer)
    assert (head.status_code, head.content) == (200, b"")
    assert {getattr(client, verb)(METRICS, headers=bearer).status_code for verb in ("post", "put", "options")} == {405}


def test_a_hostile_name_stays_one_label_of_one_line(client: Client, settings: Any) -> None:
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "METRICS_TOKEN": TOKEN}
    name = 'x"} 1\npersonalization_jobs_queued 999\r# \\'
    MonitoringReport.objects.create(
        kind="health", population="shop", at=timezone.now(),
        figures={"drift": [{"of": "feature", "name": name, "value": 0.5}], "service": "?", "calibration": {}},
    )  # fmt: skip
    text = client.get(METRICS, headers={"authorization": f"Bearer {TOKEN}"}).content.decode()
    assert 'personalization_psi{of="feature",name="x\\"} 1\\npersonalization_jobs_queued 999\r# \\\\"} 0.5\n' in text
    assert "\npersonalization_jobs_queued 0\n" in text
