"""Which models are in service: told of every task, with the day and whether the published scores are theirs."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse

from personalization.insight import doctor
from personalization.insight.findings import GOOD, HINT
from personalization.learning.standing import standings
from personalization.models import ModelVersion, ScoreSet
from personalization.types import ModelTask
from tests.admin.builders import make_user, make_version

pytestmark = pytest.mark.django_db


def reign(task: ModelTask) -> ModelVersion:
    return make_version(task=task.value, state=ModelVersion.State.CHAMPION)


def publish(**versions: ModelVersion) -> ScoreSet:
    return ScoreSet.objects.create(state=ScoreSet.State.LIVE, **versions)


def told() -> list[str]:
    return [standing.sentence for standing in standings("shop")]


def diagnosed(what: str) -> tuple[str, str]:
    (found,) = [finding for finding in doctor._learning() if what in finding.text]
    return found.level, found.text


def test_nothing_is_in_service_at_first() -> None:
    assert told() == [
        f"Model, {task}: none in service yet"
        for task in ("response", "strategy", "preference", "purchase intent", "attractiveness of campaigns")
    ]
    assert diagnosed("which kind of offer") == (
        HINT, "Not learnt: which kind of offer brings most; there is not enough data yet."
    )  # fmt: skip
    assert diagnosed("how attractive") == (
        HINT, "Not learnt: how attractive a campaign is; a training says what is missing."
    )  # fmt: skip


def test_a_model_that_the_gate_refused_is_no_reason_to_train_first() -> None:
    make_version(task="response")
    assert told()[0] == "Model, response: trained, but none has passed the gate; the board says why"
    assert told()[1] == "Model, strategy: none in service yet"
    assert diagnosed("who responds") == (
        HINT,
        "Not learnt: who responds to which offer; trained, but none passed the gate: the board says why "
        "(`manage.py board`).",
    )


def test_a_model_says_when_it_was_trained_and_whether_it_scores() -> None:
    strategy, launches = reign(ModelTask.STRATEGY), reign(ModelTask.ATTRACTIVENESS)
    day = f"{strategy.created_at:%Y-%m-%d}"
    assert told()[1].endswith("not in the published scores yet: score again")
    assert diagnosed("which kind of offer") == (
        HINT,
        f"Learnt: which kind of offer brings most ({strategy}, trained {day}), but the published scores are not its "
        "own: score again.",
    )
    set_of_another = publish(strategy_version=make_version(task="strategy"))
    assert "not in the published scores" in told()[1]
    set_of_another.delete()
    publish(strategy_version=strategy)
    assert f"Model, strategy: {strategy}, trained " in told()[1]
    assert told()[1].endswith(", in the published scores")
    assert diagnosed("which kind of offer")[0] == GOOD
    assert told()[4].startswith(f"Model, attractiveness of campaigns: {launches}, trained ")
    assert diagnosed("how attractive") == (
        GOOD, f"Learnt: how attractive a campaign is ({launches}, trained {day}, asked by forecasts)."
    )  # fmt: skip


def test_the_list_of_jobs_tells_it(client: Any) -> None:
    reign(ModelTask.STRATEGY)
    client.force_login(make_user("view_job"))
    html = client.get(reverse("admin:personalization_job_changelist")).content.decode()
    assert "Model, strategy: " in html
    assert "Model, attractiveness of campaigns: none in service yet" in html
