"""Jobs and model versions: buttons write rows, permissions hold, and nothing trains in a request."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from personalization.exceptions import NotEnoughData
from personalization.learning import gate, jobs, publish, registry, sentences, shards, wordings
from personalization.learning.gate import Check
from personalization.learning.sentences import Sentence
from personalization.models import AuditEntry, Job, ModelVersion, ScoreSet
from personalization.types import JobKind
from tests.admin.builders import make_campaign, make_user, make_version
from tests.support import build

pytestmark = pytest.mark.django_db
LIST = "admin:personalization_job_changelist"


def job_url(verb: str, pk: int) -> str:
    return reverse(f"admin:personalization_job_{verb}", args=[pk])


@pytest.fixture
def operator(client):
    user = make_user("view_job", "run_job", "view_modelversion", "change_modelversion")
    client.force_login(user)
    return user


@pytest.mark.parametrize("kind", ["train", "score", "shadow"])
def test_a_button_queues_a_job_and_runs_nothing(client, operator, kind):
    response = client.post(reverse("admin:personalization_job_start", args=[kind]), follow=True)
    assert response.status_code == 200
    job = Job.objects.get()
    assert (job.kind, job.state, job.requested_by) == (kind, "queued", operator)
    assert job.params == {"population": "shop"}


@pytest.mark.parametrize("state", ["queued", "running"])
@pytest.mark.parametrize("kind", ["train", "score", "shadow"])
def test_a_button_that_is_pressed_twice_queues_once(client, operator, kind, state):
    url = reverse("admin:personalization_job_start", args=[kind])
    client.post(url)
    Job.objects.update(state=state)
    job = Job.objects.get()
    assert f"Nothing was queued: {job} is open already." in client.post(url, follow=True).content.decode()
    assert Job.objects.count() == 1


def test_a_training_from_the_console_counts_too(client, operator):
    """It has other parameters, and no word of its own."""
    job = Job.objects.create(kind="train", params={"population": "shop", "seed": 1}, state="running")
    url = reverse("admin:personalization_job_start", args=["train"])
    assert f"Nothing was queued: {job} is open already." in client.post(url, follow=True).content.decode()
    assert Job.objects.count() == 1


def test_why_a_training_was_queued_is_told(client, operator):
    reason = {"code": "drift", "template": "Drift: %(finding)s", "params": {"finding": "prices <rose>"}}
    job = Job.objects.create(kind="train", params={"reasons": [reason]})
    assert "<p>Drift: prices &lt;rose&gt;</p>" in client.get(job_url("change", job.pk)).content.decode()


def test_who_asked_for_a_job_is_told(client, operator):
    Job.objects.create(kind="train", requested_by=operator)
    assert "by the schedule or a command" not in client.get(reverse(LIST)).content.decode()
    Job.objects.create(kind="score")
    assert "by the schedule or a command" in client.get(reverse(LIST)).content.decode()


def test_starting_needs_a_post_and_the_permission(client, operator):
    url = reverse("admin:personalization_job_start", args=["train"])
    assert client.get(url).status_code == 405
    assert client.post(reverse("admin:personalization_job_start", args=["forecast"])).status_code == 404
    client.force_login(make_user("view_job"))
    assert client.post(url).status_code == 403
    assert "Train now" not in client.get(reverse(LIST)).content.decode()
    assert not Job.objects.exists()


def test_the_list_says_what_is_missing(client, operator):
    html = client.get(reverse(LIST)).content.decode()
    assert "0 exposures whose outcome is known (5,000 needed): not enough yet" in html
    assert "http-equiv" not in html
    Job.objects.create(kind="train", state="running", progress=0.42, stage="epoch 2")
    html = client.get(reverse(LIST)).content.decode()
    assert "http-equiv" in html
    assert 'value="42"' in html


def test_open_jobs_are_cancelled_and_ended_ones_retried(client, operator):
    running = Job.objects.create(kind="train", state="running")
    failed = Job.objects.create(kind="score", state="failed", error="no memory")
    for action in ["cancel_jobs", "retry_jobs"]:
        client.post(
            reverse(LIST), {"action": action, "_selected_action": [failed.pk if "retry" in action else running.pk]}
        )
    running.refresh_from_db()
    failed.refresh_from_db()
    assert (running.state, failed.state) == ("cancelled", "queued")
    assert client.post(job_url("cancel", failed.pk)).status_code == 302
    assert client.post(job_url("retry", running.pk)).status_code == 302
    running.refresh_from_db()
    failed.refresh_from_db()
    assert (running.state, failed.state) == ("queued", "cancelled")


def test_cancelling_needs_the_permission(client):
    job = Job.objects.create(kind="train", state="running")
    client.force_login(make_user("view_job"))
    assert client.post(job_url("cancel", job.pk)).status_code == 403
    client.post(reverse(LIST), {"action": "cancel_jobs", "_selected_action": [job.pk]})
    job.refresh_from_db()
    assert job.state == "running"
    assert "Cancel this job" not in client.get(job_url("change", job.pk)).content.decode()


def test_running_jobs_are_followed(client, operator):
    job = Job.objects.create(kind="train", state="running", progress=0.5, stage="<b>epoch</b>")
    hostile = f"{job.pk},x,-1,{'9' * 20},{'9' * 5000}"
    cells = client.get(reverse("admin:personalization_job_states"), {"ids": hostile}).json()
    assert cells[str(job.pk)]["open"] is True
    assert "&lt;b&gt;epoch" in cells[str(job.pk)]["stage"]
    assert "data-pz-poll" in client.get(job_url("now", job.pk)).content.decode()
    Job.objects.update(state="succeeded", result={"auc": 0.7})
    assert "data-pz-poll" not in client.get(job_url("now", job.pk)).content.decode()
    assert '<th scope="row">Auc</th><td>0.7000</td>' in client.get(job_url("change", job.pk)).content.decode()


def test_what_came_of_a_job_is_told_in_words(client, operator):
    version, made = make_version(), ScoreSet.objects.create(state="live")
    said = Sentence("%(estimator)s: %(said)s", {"estimator": "als", "said": Sentence("Nobody reigns <yet>.")})
    result = {
        "population": "shop", "simulated": True, "until": "2026-03-01T08:00:00+00:00",
        "versions": [version.pk, 999], "champions": {"response": "logistic"}, "sentences": [said.stored()],
        "in_shadow": None, "odd thing": {"a": 1},
    }  # fmt: skip
    job = Job.objects.create(kind="train", state="succeeded", result=result, params={"population": "shop", "seed": 3})
    page = client.get(job_url("change", job.pk)).content.decode()
    link = reverse("admin:personalization_modelversion_change", args=[version.pk])
    for cell in (
        '<th scope="row">Simulated data</th><td>yes</td>',
        f'<th scope="row">Versions trained</th><td><a href="{link}">{version}</a>, #999</td>',
        '<th scope="row">New champions</th><td>response: logistic</td>',
        "<li>als: Nobody reigns &lt;yet&gt;.</li>",
        '<th scope="row">Goes on in shadow</th><td>none</td>',
        '<th scope="row">Odd thing</th><td>a: 1</td>',
        '<th scope="row">Seed</th><td>3</td>',
    ):
        assert cell in page, cell
    assert "pz-json" not in page
    assert "new champions: response: logistic" in client.get(reverse(LIST)).content.decode()
    Job.objects.update(kind="score", result={"score_set": made.pk, "shoppers": 1234})
    page = client.get(job_url("change", job.pk)).content.decode()
    assert '<th scope="row">Shoppers</th><td>1,234</td>' in page
    assert f"scores #{made.pk}</a>" in page


def test_a_forecasts_job_tells_money_as_money(client, operator):
    campaign = make_campaign()
    result = {"forecast": 1, "redemptions": [10, 5, 15], "cost": [1250, 1000, 1500]}
    job = Job.objects.create(kind="forecast", state="succeeded", result=result, params={"campaign": campaign.pk})
    page = client.get(job_url("change", job.pk)).content.decode()
    assert "€12.50 (€10.00 to €15.00)" in page
    assert "10 (5 to 15)" in page


def test_why_a_job_failed_is_told_in_the_readers_language(client, operator):
    job = Job.objects.create(kind="train", state="running")
    jobs.fail(job, sentences.of_error(NotEnoughData(wordings.FEW_EXPOSURES, params={"have": "12", "need": "5,000"})))
    job.refresh_from_db()
    assert job.error == "12 of 5,000 exposures whose outcome is known."
    page = client.get(job_url("change", job.pk), headers={"accept-language": "zh-hans"}).content.decode()
    assert "结果已知的曝光只有 12 次，需要 5,000 次。" in page
    assert job.error not in page


def test_a_scoring_shows_its_parts_by_worker(client, operator):
    people = [build.shopper() for _ in range(3)]
    jobs.enqueue(JobKind.SCORE, {"population": "shop"})
    job = jobs.lease("north:1")
    assert job is not None
    made = publish.begin("shop", job, response=None, strategy=None, preference=None)
    shards.plan(made, [person.pk for person in people], 1)
    for worker in ("north:1", "south:2"):
        shard = shards.take(made, worker, leads=True)
        assert shard is not None
        shards.finish(shard, [])
    shards.take(made, "south:2", leads=False)
    page = client.get(reverse("admin:personalization_job_now", args=[job.pk])).content.decode()
    assert "2 of 3 parts done" in page
    for cells in ("north:1</td>", "south:2</td>"):
        assert f'<tr><td>{cells}<td class="pz-figure">1</td>' in page


def test_promoting_asks_first_and_can_be_rolled_back(client, operator):
    old = make_version(state=ModelVersion.State.CHAMPION)
    new = make_version()
    url = reverse("admin:personalization_modelversion_promote", args=[new.pk])
    assert client.get(url).status_code == 200
    new.refresh_from_db()
    assert new.state == "candidate"
    client.post(url)
    old.refresh_from_db()
    new.refresh_from_db()
    assert (old.state, new.state) == ("retired", "champion")
    page = client.get(reverse("admin:personalization_modelversion_change", args=[old.pk])).content.decode()
    assert "Roll back to this version" in page
    back = reverse("admin:personalization_modelversion_promote", args=[old.pk])
    asks = client.get(back).content.decode()
    for words in (f"{old} returns; {new} goes and is kept.", "those that it made are gone or too old", "To undo it"):
        assert words in asks, words
    told = client.post(back, follow=True).content.decode()
    for words in (f" reigns again; {new} goes and is kept.", "are gone or too old", "To undo this, roll back to"):
        assert words in told, words
    client.post(back)  # pressed twice
    old.refresh_from_db()
    assert (old.state, registry.held_until(old) is not None) == ("champion", True)
    assert list(AuditEntry.objects.values_list("action", "by")) == [
        ("promoted", operator.pk),
        ("rollback", operator.pk),
    ]


def test_rolling_back_brings_the_scores_back(client, operator):
    old, new = make_version(state=ModelVersion.State.RETIRED), make_version(state=ModelVersion.State.CHAMPION)
    for version, state in ((old, "retired"), (new, "live")):
        ScoreSet.objects.create(response_version=version, state=state, published_at=timezone.now())
    back = reverse("admin:personalization_modelversion_promote", args=[old.pk])
    assert "are live again at once" in client.get(back).content.decode()
    assert "are live again; " in client.post(back, follow=True).content.decode()
    assert ScoreSet.objects.get(state="live").response_version == old


def test_the_gates_verdicts_are_shown_with_the_version_and_on_the_board(client, operator):
    checks = [
        Check("reigning", False, "Not better than %(rival)s.", {"rival": "<als> #1"}, 0.0, threshold=0.0),
        Check("fairness", None, gate.NOT_INSTALLED),
        Check("latency", True, "%(seconds).3f seconds.", {"seconds": 0.25}, 0.25),
    ]
    shadow = {"rows": 900, "gain": [0.01, 0.005, 0.015], "rival": "logistic #3"}
    version = make_version(
        metrics={"gate": gate.stored(checks), "challenger": True, "fit_seconds": 12.5, "peak_mb": 321, "shadow": shadow}
    )
    page = client.get(reverse("admin:personalization_modelversion_change", args=[version.pk])).content.decode()
    assert "Not better than &lt;als&gt; #1." in page
    assert "Not judged: no fairness check is installed." in page
    listed = client.get(reverse("admin:personalization_modelversion_changelist")).content.decode()
    for words in ("Not promoted: Not better than", "12.50", "321", "0.2500", "log-loss gain over logistic #3 on 900"):
        assert words in listed, words


def test_a_candidate_goes_into_shadow_and_out_again(client, operator):
    version = make_version(task="response")
    url = reverse("admin:personalization_modelversion_shadow", args=[version.pk])
    change = reverse("admin:personalization_modelversion_change", args=[version.pk])
    assert client.get(url).status_code == 405
    assert "Score in shadow" in client.get(change).content.decode()
    assert "predicts in shadow from now on" in client.post(url, follow=True).content.decode()
    version.refresh_from_db()
    assert version.in_shadow
    assert "is not in shadow any more" in client.post(url, follow=True).content.decode()
    ModelVersion.objects.update(state="retired")
    assert "This version cannot be put in shadow." in client.post(url, follow=True).content.decode()
    client.force_login(make_user("view_modelversion"))
    assert client.post(url).status_code == 403
    assert "Score in shadow" not in client.get(change).content.decode()


def test_promoting_needs_the_permission(client):
    version = make_version()
    client.force_login(make_user("view_modelversion"))
    url = reverse("admin:personalization_modelversion_promote", args=[version.pk])
    assert client.get(url).status_code == 403
    assert client.post(url).status_code == 403
    page = client.get(reverse("admin:personalization_modelversion_change", args=[version.pk])).content.decode()
    assert "Promote" not in page


@pytest.mark.parametrize(
    "odd",
    [
        [1],
        {"board": [1], "shadow": {"rows": "x", "gain": [1, "a", None]}, "gate": [3, {"name": 1}]},
        {"board": {"auc": ["a", "b", "c"], "log_loss": 10**400}, "fit_seconds": "long", "peak_mb": [1]},
        {"gate": [{"name": "latency", "passed": "yes", "template": 5, "params": [1], "figure": "a", "low": {}}]},
        {"gate": [{"name": "size", "passed": True, "template": "%(missing)s of %(bytes)d", "params": {"bytes": "x"}}]},
    ],
)
def test_metrics_of_any_shape_open_their_pages(admin_client: Client, odd: Any) -> None:
    made = make_version(metrics=odd, state="champion")
    for address in ("", f"{made.pk}/change/", f"{made.pk}/card/"):
        assert admin_client.get(f"/admin/personalization/modelversion/{address}").status_code == 200, address
    call_command("board", stdout=StringIO())
