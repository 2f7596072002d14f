"""Jobs and model versions: buttons write rows, permissions hold, and nothing trains in a request."""

from __future__ import annotations

import pytest
from django.urls import reverse

from personalization.models import Job, ModelVersion
from tests.admin.builders import make_user, make_version

pytestmark = pytest.mark.django_db
LIST = "admin:personalization_job_changelist"


def job_url(verb: str, pk: int) -> str:
    return reverse(f"admin:personalization_job_{verb}", args=[pk])


@pytest.fixture
def operator(client):
    user = make_user("view_job", "run_job", "view_modelversion", "change_modelversion")
    client.force_login(user)
    return user


@pytest.mark.parametrize("kind", ["train", "score"])
def test_a_button_queues_a_job_and_runs_nothing(client, operator, kind):
    response = client.post(reverse("admin:personalization_job_start", args=[kind]), follow=True)
    assert response.status_code == 200
    job = Job.objects.get()
    assert (job.kind, job.state, job.requested_by) == (kind, "queued", operator)
    assert job.params == {"population": "shop"}


def test_starting_needs_a_post_and_the_permission(client, operator):
    url = reverse("admin:personalization_job_start", args=["train"])
    assert client.get(url).status_code == 405
    assert client.post(reverse("admin:personalization_job_start", args=["forecast"])).status_code == 403
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
    cells = client.get(reverse("admin:personalization_job_states"), {"ids": f"{job.pk},x,-1"}).json()
    assert cells[str(job.pk)]["open"] is True
    assert "&lt;b&gt;epoch" in cells[str(job.pk)]["stage"]
    assert "data-pz-poll" in client.get(job_url("now", job.pk)).content.decode()
    Job.objects.update(state="succeeded", result={"auc": 0.7})
    assert "data-pz-poll" not in client.get(job_url("now", job.pk)).content.decode()
    assert "&quot;auc&quot;: 0.7" in client.get(job_url("change", job.pk)).content.decode()


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
    client.post(reverse("admin:personalization_modelversion_promote", args=[old.pk]))
    old.refresh_from_db()
    assert old.state == "champion"


def test_promoting_needs_the_permission(client):
    version = make_version()
    client.force_login(make_user("view_modelversion"))
    url = reverse("admin:personalization_modelversion_promote", args=[version.pk])
    assert client.get(url).status_code == 403
    assert client.post(url).status_code == 403
    page = client.get(reverse("admin:personalization_modelversion_change", args=[version.pk])).content.decode()
    assert "Promote" not in page
