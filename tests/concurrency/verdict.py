"""What an outcome must look like for a race to count as won, and its negative control as shown."""

from __future__ import annotations

from typing import Any


def assert_guard_matters(outcomes: dict[str, Any]) -> None:
    """With its guard the race never overran; without it, the same race did: so the test could have failed."""
    guarded, unguarded = outcomes["guarded"], outcomes["unguarded"]
    assert guarded["overruns"] == []
    assert guarded["faults"] == []
    assert guarded["errors"] == []
    assert unguarded["overruns"], (
        f"the negative control showed nothing in {unguarded['rounds']} rounds: this race proves nothing. "
        f"Its errors: {unguarded['errors'][:3]}"
    )
