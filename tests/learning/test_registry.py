"""Exactly one version reigns per task and population; rolling back is promoting the former one again."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction
from django.utils import timezone

from personalization.learning import jobs, registry, rollback
from personalization.models import AuditEntry, ModelVersion
from personalization.types import JobKind, ModelTask
from tests.support import build

pytestmark = pytest.mark.django_db


def version(estimator: str = "logistic", **fields: Any) -> ModelVersion:
    given = {"task": "response", "population": "shop", "cutoff_at": timezone.now()} | fields
    return registry.register(ModelVersion(estimator=estimator, path=estimator, sha256="0" * 64, size_bytes=1, **given))


def champions() -> list[ModelVersion]:
    return list(ModelVersion.objects.filter(state=ModelVersion.State.CHAMPION).order_by("pk"))


def test_a_new_version_is_a_candidate() -> None:
    made = version()
    assert made.state == "candidate"
    assert registry.champion(ModelTask.RESPONSE, "shop") is None


def test_promotion_retires_the_one_before() -> None:
    first, second = version(), version("boosting")
    registry.promote(first)
    promoted = registry.promote(second)
    first.refresh_from_db()
    assert (first.state, promoted.state) == ("retired", "champion")
    assert champions() == [second] == [registry.champion(ModelTask.RESPONSE, "shop")]
    assert "retired_at" in first.card
    assert promoted.card["promoted_by"] == "gate"


def test_rolling_back_names_who_did_it_and_keeps_the_card() -> None:
    first, second = version(card={"note": "linear"}), version("boosting")
    registry.promote(first)
    registry.promote(second)
    first.refresh_from_db()
    registry.promote(first, get_user_model().objects.create_user("ada"))
    assert champions() == [first]
    assert (first.card["note"], first.card["promoted_by"]) == ("linear", "ada")


def test_promoting_the_champion_again_changes_nothing_else() -> None:
    first, second = version(), version("boosting")
    registry.promote(first)
    registry.promote(first)
    second.refresh_from_db()
    assert (champions(), second.state) == ([first], "candidate")


def test_tasks_and_populations_have_champions_of_their_own() -> None:
    all_of_them = [version(), version(task="strategy"), version(task="preference"), version(population="games")]
    for one in all_of_them:
        registry.promote(one)
    assert champions() == all_of_them
    assert registry.champion(ModelTask.STRATEGY, "shop") == all_of_them[1]
    assert registry.champion(ModelTask.RESPONSE, "games") == all_of_them[3]


def test_two_champions_cannot_be_stored() -> None:
    registry.promote(version())
    other = version("boosting")
    with pytest.raises(IntegrityError), transaction.atomic():
        ModelVersion.objects.filter(pk=other.pk).update(state=ModelVersion.State.CHAMPION)


def test_a_lost_race_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another promotion commits between our look and our update: ours is refused, the other stays."""
    reigning, ours = version(), version("boosting")
    registry.promote(reigning)
    real = ModelVersion.objects.filter

    def blind(*args: object, **kwargs: object) -> object:
        found = real(*args, **kwargs)  # the rivals look empty, as they do to a snapshot taken before
        return found.none() if set(kwargs) == {"task", "population"} else found

    monkeypatch.setattr(ModelVersion.objects, "filter", blind)
    with pytest.raises(registry.PromotionRace):
        registry.promote(ours)
    monkeypatch.undo()
    assert champions() == [reigning]


def test_a_jobs_versions_and_the_populations_are_listed() -> None:
    job = jobs.enqueue(JobKind.TRAIN)
    mine = [version("boosting", job=job), version("logistic", job=job)]
    version("offer_mean")
    build.shopper(population="games")
    build.shopper()
    build.shopper()
    assert registry.versions_of(job) == mine
    assert registry.populations() == ["games", "shop"]


def test_asking_twice_lifts_no_hold_and_undoes_nothing() -> None:
    """A double click on "roll back", or on a page that was opened before."""
    first, second = version(), version("boosting")
    registry.promote(first)
    registry.promote(second)
    stale = ModelVersion.objects.get(pk=first.pk)
    rollback.roll_back(ModelTask.RESPONSE, "shop")
    again = registry.promote(stale, get_user_model().objects.create_user("ada"))
    assert registry.held_until(again) is not None
    assert again.card["promoted_by"] == "rollback"
    assert not AuditEntry.objects.filter(action="promoted").exists()


def test_a_version_that_is_gone_takes_nobodys_place() -> None:
    reigning, gone = registry.promote(version()), version("boosting")
    stale = ModelVersion.objects.get(pk=gone.pk)
    gone.delete()
    with pytest.raises(ModelVersion.DoesNotExist):
        registry.promote(stale)
    assert champions() == [reigning]


def test_what_was_judged_against_another_does_not_succeed() -> None:
    judged_against, other, trained = version(), version("boosting"), version("net")
    registry.promote(judged_against)
    registry.promote(other)
    assert not registry.succeed(trained, judged_against)
    assert not registry.succeed(trained, None)
    assert champions() == [other]
    assert registry.succeed(trained, other)
    assert champions() == [trained]


def test_after_a_rollback_to_the_very_same_rival_nothing_succeeds() -> None:
    """Another was promoted and taken back while the training ran: the hold counts, though its rival reigns."""
    rival, other, trained = version(), version("boosting"), version("net")
    registry.promote(rival)
    registry.promote(other)
    rollback.roll_back(ModelTask.RESPONSE, "shop")
    assert not registry.succeed(trained, rival)
    assert champions() == [rival]


def test_where_another_first_champion_was_quicker_a_training_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """It could not be seen by any lock: its row was not there yet."""

    def raced(_version: ModelVersion) -> None:
        raise registry.PromotionRace

    trained = version()
    monkeypatch.setattr(registry, "promote", raced)
    assert not registry.succeed(trained, None)
