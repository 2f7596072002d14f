"""Chores: each runs, and one that fails stops no other."""

from __future__ import annotations

import pytest

from personalization.learning import chores


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
