"""Searches in the admin: a form queues one, a find is shown with its trials, and withdrawing needs the permission."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.text import capfirst

from personalization.learning import tuning
from personalization.models import Job
from personalization.types import ModelTask
from tests.admin.builders import make_search, make_user

pytestmark = pytest.mark.django_db
LIST = reverse("admin:personalization_tuningrun_changelist")
START = reverse("admin:personalization_tuningrun_start")


def url(verb: str, pk: int) -> str:
    return reverse(f"admin:personalization_tuningrun_{verb}", args=[pk])


@pytest.fixture
def operator(client: Client) -> Any:
    user = make_user("view_tuningrun", "run_job", "change_modelversion")
    client.force_login(user)
    return user


def test_a_form_queues_a_search_and_runs_nothing(client: Client, operator: Any) -> None:
    page = client.get(LIST).content.decode()
    assert re.findall(r'<option value="(\w+)"', page) == tuning.searchable()
    assert '<optgroup label="preference">' in page
    assert "offer_mean" not in page
    told = client.post(START, {"estimator": "boosting", "minutes": 20}, follow=True).content.decode()
    job = Job.objects.get()
    assert f"{capfirst(str(job))} waits for a worker." in told
    assert (job.kind, job.state, job.requested_by) == ("tune", "queued", operator)
    assert job.params == {"population": "shop", "estimator": "boosting", "minutes": 20}
    assert "being searched for already" in client.post(
        START, {"estimator": "boosting", "minutes": 5}, follow=True
    ).content.decode()  # fmt: skip
    assert Job.objects.count() == 1


@pytest.mark.parametrize("given", [{"estimator": "unheard", "minutes": 5}, {"estimator": "boosting", "minutes": 900}])
def test_nonsense_is_refused(client: Client, operator: Any, given: dict[str, Any]) -> None:
    client.post(START, given)
    assert not Job.objects.exists()


def test_starting_needs_a_post_and_the_permission(client: Client, operator: Any) -> None:
    assert client.get(START).status_code == 405
    client.force_login(make_user("view_tuningrun"))
    assert client.post(START, {"estimator": "boosting", "minutes": 5}).status_code == 403
    assert "tuningrun/start" not in client.get(LIST).content.decode()
    assert not Job.objects.exists()


def test_a_find_is_shown_with_its_trials_and_withdrawn(client: Client, operator: Any) -> None:
    run = make_search()
    page = client.get(url("change", run.pk)).content.decode()
    for told in ("num_leaves: 15 → 31", "num_leaves 31", "0.30500", "ValueError: &lt;no&gt;", "The next training"):
        assert told.lower() in page.lower(), told
    assert 'name="_save"' not in page
    client.post(url("withdraw", run.pk))
    run.refresh_from_db()
    assert (run.in_force, run.withdrawn_by) == (False, operator)
    assert tuning.in_force("shop", ModelTask.RESPONSE) == {}
    assert "Withdraw these settings" not in client.get(url("change", run.pk)).content.decode()
    assert "not in force" in client.post(url("withdraw", run.pk), follow=True).content.decode()


def test_withdrawing_needs_a_post_and_the_permission(client: Client, operator: Any) -> None:
    run = make_search()
    assert client.get(url("withdraw", run.pk)).status_code == 405
    client.force_login(make_user("view_tuningrun", "run_job"))
    assert client.post(url("withdraw", run.pk)).status_code == 403
    assert "Withdraw these settings" not in client.get(url("change", run.pk)).content.decode()
    run.refresh_from_db()
    assert run.in_force


def test_the_job_tells_what_came_of_it(client: Client) -> None:
    client.force_login(make_user("view_job", "view_tuningrun"))
    run = make_search()
    result = {"search": run.pk, "estimator": "boosting", "trials": 3, "best": 1, "adopted": True}
    job = Job.objects.create(kind="tune", state="succeeded", params={"estimator": "boosting"}, result=result)
    page = client.get(reverse("admin:personalization_job_change", args=[job.pk])).content.decode()
    assert f'<a href="{url("change", run.pk)}">boosting #{run.pk}</a>' in page
    assert "Settings adopted" in page
    assert "new settings adopted" in client.get(reverse("admin:personalization_job_changelist")).content.decode()
