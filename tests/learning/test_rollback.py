"""Back to the former champion and its scores in one transaction; nobody who left comes back with them."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from personalization.learning import jobs, publish, registry
from personalization.learning.rollback import AlreadyReigns, NotFormer, NothingToRollBackTo, Rollback, roll_back
from personalization.models import AuditEntry, Job, ModelVersion, ScoreSet, Shopper, ShopperMerge, ShopperScores
from personalization.privacy import erasure
from personalization.tracking import consent
from personalization.types import JobKind, ModelTask, Purpose
from tests.admin.builders import make_user
from tests.support import build

pytestmark = pytest.mark.django_db


def version(estimator: str, **fields: Any) -> ModelVersion:
    given = {"task": "response", "population": "shop", "cutoff_at": timezone.now()} | fields
    return registry.register(ModelVersion(estimator=estimator, path=estimator, sha256="0" * 64, size_bytes=1, **given))


def scored(by: ModelVersion, people: list[Shopper]) -> ScoreSet:
    made = publish.begin("shop", None, response=by, strategy=None, preference=None)
    publish.write_scores(made, [{"shopper_id": one.pk, "items": [by.estimator]} for one in people])
    publish.publish(made, None, defaults={})
    publish.tidy("shop")
    return made


def live() -> ScoreSet:
    return ScoreSet.objects.get(state=ScoreSet.State.LIVE)


def served() -> set[int]:
    return set(ShopperScores.objects.filter(score_set=live()).values_list("shopper_id", flat=True))


@pytest.fixture
def people() -> list[Shopper]:
    return [build.shopper() for _ in range(4)]


@pytest.fixture
def old(people: list[Shopper]) -> ModelVersion:
    made = registry.promote(version("old"))
    scored(made, people)
    return made


@pytest.fixture
def new(old: ModelVersion, people: list[Shopper]) -> ModelVersion:
    """It reigns for three scorings by now: the former's scores outlive them."""
    made = registry.promote(version("new"))
    for _ in range(3):
        scored(made, people)
    return made


def undo(**options: Any) -> Rollback:
    return roll_back(ModelTask.RESPONSE, "shop", **options)


def test_champion_and_scores_come_back_together(old: ModelVersion, new: ModelVersion, people: list[Shopper]) -> None:
    published = ScoreSet.objects.get(response_version=old).published_at
    done = undo(by=get_user_model().objects.create_user("ada"))
    assert registry.champion(ModelTask.RESPONSE, "shop") == old == done.version
    assert (live().response_version, live().published_at, live().retired_at) == (old, published, None)
    assert (served(), done.dropped, done.instead_of) == ({one.pk for one in people}, 0, new)
    assert done.job is not None
    assert (done.job.kind, done.job.params) == ("score", {"population": "shop"})
    new.refresh_from_db()
    assert (new.state, "rolled_back_at" in new.card) == ("retired", True)
    assert done.version.card["promoted_by"] == "ada"
    line = AuditEntry.objects.latest("pk")
    assert (line.action, line.kind, line.subject) == ("rollback", "modelversion", str(old.pk))
    assert line.by == get_user_model().objects.get(username="ada")
    assert line.details == {
        "task": "response", "instead_of": new.pk, "score_set": live().pk, "dropped": 0,
    }  # fmt: skip


def test_a_crash_halfway_changes_nothing(old: ModelVersion, new: ModelVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("the power went")

    before = live()
    monkeypatch.setattr(jobs, "enqueue", broken)
    with pytest.raises(RuntimeError):
        undo()
    assert registry.champion(ModelTask.RESPONSE, "shop") == new
    assert live() == before
    assert not AuditEntry.objects.exists()


def test_who_left_since_does_not_come_back(old: ModelVersion, new: ModelVersion, people: list[Shopper]) -> None:
    withdrew, erased, merged, stayed = people
    consent.record(withdrew, [], source="test")
    erasure.erase(erased)
    Shopper.objects.filter(pk=merged.pk).update(merged_into=stayed)
    done = undo()
    assert served() == {stayed.pk}
    assert (done.dropped, live().shoppers) == (3, 1)


def test_back_over_two_champions_leaves_none_of_them_to_go_back_to(old: ModelVersion, new: ModelVersion) -> None:
    newest = registry.promote(version("newest"))
    done = undo(to=old)
    assert (done.version, done.instead_of) == (old, newest)
    with pytest.raises(NothingToRollBackTo):
        undo()


def test_a_new_consent_does_not_bring_back_what_was_computed_before_the_withdrawal(
    old: ModelVersion, new: ModelVersion, people: list[Shopper]
) -> None:
    consent.record(people[0], [], source="test")
    consent.record(people[0], [Purpose.PERSONALISATION], source="test")
    assert undo().dropped == 1
    assert people[0].pk not in served()


def test_what_was_computed_of_two_people_who_were_taken_apart_stays_away(
    old: ModelVersion, new: ModelVersion, people: list[Shopper]
) -> None:
    visitor, account, *_others = people
    ShopperMerge.objects.create(visitor=visitor, account=account, undone_at=timezone.now())
    assert undo().dropped == 2
    assert served() == {one.pk for one in people[2:]}


def test_without_its_checks_a_withdrawn_shopper_would_come_back(
    old: ModelVersion, new: ModelVersion, people: list[Shopper], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control."""
    Shopper.objects.filter(pk=people[0].pk).update(consent_personalisation=False)
    monkeypatch.setattr(publish, "_drop_withdrawn", lambda score_set: 0)
    monkeypatch.setattr(publish, "_drop_changed", lambda score_set: 0)
    undo()
    assert people[0].pk in served()


@pytest.mark.parametrize("how", ["gone", "too old"])
def test_without_its_scores_the_present_ones_stay_until_a_scoring(
    how: str, old: ModelVersion, new: ModelVersion
) -> None:
    if how == "gone":
        ShopperScores.objects.filter(score_set__response_version=old).delete()
        ScoreSet.objects.filter(response_version=old).delete()
    else:
        ScoreSet.objects.filter(response_version=old).update(published_at=timezone.now() - timedelta(hours=73))
    before = live()
    done = undo()
    assert (done.score_set, live()) == (None, before)
    assert registry.champion(ModelTask.RESPONSE, "shop") == old
    assert Job.objects.get(kind="score", state="queued") == done.job


def test_a_second_rollback_goes_further_back_not_forth(old: ModelVersion, new: ModelVersion) -> None:
    newest = registry.promote(version("newest"))
    assert undo().version == new
    assert undo().version == old
    with pytest.raises(NothingToRollBackTo):
        undo()
    newest.refresh_from_db()
    registry.promote(newest)
    assert undo().version == old  # the last to have retired in the ordinary way


def test_only_a_former_champion_can_be_rolled_back_to(old: ModelVersion, new: ModelVersion) -> None:
    with pytest.raises(NotFormer):
        undo(to=version("never"))
    with pytest.raises(NotFormer):
        roll_back(ModelTask.STRATEGY, "shop", to=old)
    assert undo(to=old).version == old


def test_scores_of_a_model_that_was_rolled_back_are_not_published(
    old: ModelVersion, new: ModelVersion, people: list[Shopper]
) -> None:
    """A scoring with the bad model is under way when it is rolled back: it must not undo the rollback."""
    job = jobs.enqueue(JobKind.SCORE)
    leased = jobs.lease("one", job.pk)
    assert leased is not None
    under_way = publish.begin("shop", leased, response=new, strategy=None, preference=None)
    undo()
    with pytest.raises(publish.RolledBack):
        publish.publish(under_way, leased, defaults={})
    assert live().response_version == old
    assert Job.objects.get(pk=job.pk).state == "running"  # for its worker to fail, with the sentence
    publish.tidy("shop")
    assert not ScoreSet.objects.filter(pk=under_way.pk).exists()
    assert publish.begin("shop", leased, response=old, strategy=None, preference=None) != under_way


def test_scores_begun_with_the_bad_model_after_it_went_are_not_published_either(
    old: ModelVersion, new: ModelVersion
) -> None:
    """A scoring had read who reigns, and begins its set a moment after the rollback."""
    undo()
    late = publish.begin("shop", None, response=new, strategy=None, preference=None)
    with pytest.raises(publish.RolledBack):
        publish.publish(late, None, defaults={})
    assert live().response_version == old


@pytest.mark.parametrize("moment", ["neighbours", "publish"])
def test_a_set_that_was_tidied_away_after_a_rollback_takes_no_place(
    old: ModelVersion, new: ModelVersion, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Of another task's rollback nothing shows in its own models."""
    begun = publish.begin("shop", None, response=old, strategy=None, preference=None)
    before = live()
    counting = publish._drop_withdrawn

    def gone_meanwhile(score_set: ScoreSet) -> int:
        if score_set == begun:
            publish.void_unfinished("shop")
            publish.tidy("shop")
        return counting(score_set)

    if moment == "neighbours":
        gone_meanwhile(begun)
        with pytest.raises(publish.RolledBack):
            publish.write_neighbours(begun, [("1", [])])
    monkeypatch.setattr(publish, "_drop_withdrawn", gone_meanwhile)
    ModelVersion.objects.update(card={})  # as after a rollback of preference
    with pytest.raises(publish.RolledBack):
        publish.publish(begun, None, defaults={})
    assert live() == before


def test_former_scores_are_kept_while_they_could_be_served(old: ModelVersion, new: ModelVersion) -> None:
    assert ScoreSet.objects.filter(response_version=old).exists()
    assert ScoreSet.objects.filter(response_version=new, state="retired").count() == 1
    ScoreSet.objects.filter(response_version=old).update(published_at=timezone.now() - timedelta(hours=73))
    publish.tidy("shop")
    assert not ScoreSet.objects.filter(response_version=old).exists()


def test_the_command(old: ModelVersion, new: ModelVersion) -> None:
    out = StringIO()
    with pytest.raises(CommandError, match="There is no account ada: --by takes the username of a member of staff"):
        call_command("rollback", "response", "--by", "ada")
    make_user("view_modelversion", username="clerk")
    with pytest.raises(CommandError, match=r"clerk may not do this: it lacks .*\.change_modelversion\."):
        call_command("rollback", "response", "--by", "clerk")
    leaver = make_user("change_modelversion", username="leaver")
    get_user_model().objects.filter(pk=leaver.pk).update(is_active=False)
    with pytest.raises(CommandError, match="leaver is not active"):
        call_command("rollback", "response", "--by", "leaver")
    make_user("change_modelversion", username="ada")
    call_command("rollback", "response", "--by", "ada", stdout=out)
    told = out.getvalue()
    assert f"old #{old.pk} reigns again; new #{new.pk} goes and is kept." in told
    assert "are live again" in told
    assert "left out" not in told  # nobody withdrew
    assert f"`manage.py rollback response --to {new.pk}`" in told
    told = f"There is no preference version {new.pk} of 'shop': {new.pk} is a response version of 'shop'. None could"
    with pytest.raises(CommandError, match=told):
        call_command("rollback", "preference", "--to", str(new.pk))
    with pytest.raises(CommandError, match=rf"There is no response version 0 of 'shop'. .* again: new #{new.pk}\."):
        call_command("rollback", "response", "--to", "0")
    young = version("young")
    with pytest.raises(CommandError, match=rf"Promote it instead: on the page of young #{young.pk} under “Model ver"):
        call_command("rollback", "response", "--to", str(young.pk))
    call_command("rollback", "response", "--to", str(new.pk), stdout=out)  # the way back that it told
    assert registry.champion(ModelTask.RESPONSE, "shop") == new
    call_command("rollback", "response", "--to", str(old.pk), stdout=out)
    with pytest.raises(CommandError, match="No earlier champion is left"):
        call_command("rollback", "response")
    with pytest.raises(CommandError, match="No earlier champion is left"):
        call_command("rollback", "preference", "--population", "games")


def test_scores_of_the_former_champion_that_are_live_still_stay(old: ModelVersion, people: list[Shopper]) -> None:
    """Promoted, and rolled back before anything was scored: what pages show was the former one's all along."""
    before = live()
    registry.promote(version("new"))
    people[0].consent_personalisation = False
    people[0].save()
    done = roll_back(ModelTask.RESPONSE, "shop")
    assert (done.version, done.score_set, done.dropped) == (old, before, 1)
    assert live() == before
    assert served() == {one.pk for one in people[1:]}


def test_scores_of_a_model_that_was_rolled_back_do_not_come_back_with_another(people: list[Shopper]) -> None:
    def publish_with(strategy: ModelVersion, response: ModelVersion) -> ScoreSet:
        made = publish.begin("shop", None, response=response, strategy=strategy, preference=None)
        publish.write_scores(made, [{"shopper_id": one.pk} for one in people])
        publish.publish(made, None, defaults={})
        publish.tidy("shop")
        return made

    response, good = registry.promote(version("r1")), registry.promote(version("s1", task="strategy"))
    first = publish_with(good, response)
    bad = registry.promote(version("s2", task="strategy"))
    publish_with(bad, response)
    assert roll_back(ModelTask.STRATEGY, "shop").score_set == first
    publish_with(good, registry.promote(version("r2")))
    done = roll_back(ModelTask.RESPONSE, "shop")
    assert done.version == response
    assert live().strategy_version == good


def test_who_withdraws_while_scores_are_computed_is_left_out_even_if_they_agree_again(people: list[Shopper]) -> None:
    read_at = timezone.now()
    for purposes in ([], [Purpose.PERSONALISATION]):
        consent.record(people[0], purposes, source="test")
    made = publish.begin(
        "shop", None, response=registry.promote(version("one")), strategy=None, preference=None, read_at=read_at
    )
    publish.write_scores(made, [{"shopper_id": one.pk} for one in people])
    for purposes in ([], [Purpose.PERSONALISATION]):
        consent.record(people[1], purposes, source="test")
    publish.publish(made, None, defaults={})
    assert served() == {one.pk for one in people[2:]}
    made.refresh_from_db()
    assert made.shoppers == 2


@pytest.mark.parametrize("card", [[], [1], "x", 5])
def test_a_card_of_another_shape_hinders_no_promotion_and_no_rollback(card: Any) -> None:
    first = registry.promote(version("one", card=card))
    registry.promote(version("two"))
    assert roll_back(ModelTask.RESPONSE, "shop").version == first


def test_what_scores_no_shopper_comes_back_without_a_scoring(new: ModelVersion, people: list[Shopper]) -> None:
    """Attractiveness is asked by forecasts only: the scores that are live or being built are not its matter."""
    old, newer = (version(name, task="attractiveness") for name in ("mean", "cnn"))
    registry.promote(registry.promote(old) and newer)
    building = publish.begin("shop", None, response=new, strategy=None, preference=None)
    before = live()
    assert publish.restorable(ModelTask.ATTRACTIVENESS, old) is None
    done = roll_back(ModelTask.ATTRACTIVENESS, "shop")
    assert (done.version, done.instead_of, done.job, done.score_set) == (old, newer, None, None)
    building.refresh_from_db()
    assert (live(), building.state) == (before, ScoreSet.State.BUILDING)
    assert not Job.objects.exists()
    registry.promote(newer)
    out = StringIO()
    call_command("rollback", "attractiveness", stdout=out)
    assert out.getvalue().startswith(
        f"{old} reigns again; {newer} goes and is kept.\n"
        "It scores no shopper: the next forecast of a campaign uses it.\n"
    )


def test_a_second_press_changes_nothing(old: ModelVersion, new: ModelVersion) -> None:
    undo(to=old)
    with pytest.raises(AlreadyReigns):
        undo(to=old)
    assert AuditEntry.objects.filter(action="rollback").count() == 1


def test_what_a_rollback_has_put_in_service_is_not_tidied_away(
    old: ModelVersion, new: ModelVersion, people: list[Shopper], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list of old sets was made before it; the negative control follows in the race of the same name."""
    newest = registry.promote(version("newest"))
    retired, real = ScoreSet.objects.get(response_version=old), publish._still
    made = publish.begin("shop", None, response=newest, strategy=None, preference=None)
    publish.publish(made, None, defaults={})

    def late(found: ScoreSet) -> bool:
        if found == retired and live() != retired:
            undo(to=old)
        return real(found)

    monkeypatch.setattr(publish, "_still", late)
    publish.tidy("shop")
    assert (live(), served()) == (retired, {one.pk for one in people})
