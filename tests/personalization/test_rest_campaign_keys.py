"""A new campaign that is sent again: one key, one draft; the race is in ``tests/concurrency``."""

from __future__ import annotations

import pytest

from personalization.models import Campaign, CampaignRevision, Offer
from tests.personalization.builders import Browser
from tests.personalization.test_rest_api import problem
from tests.personalization.test_rest_campaigns import OFFER, call, draft_body, person

pytestmark = pytest.mark.django_db


@pytest.fixture
def marketer() -> Browser:
    return person("view_campaign", "add_campaign")


def test_the_same_key_returns_the_same_draft(marketer: Browser) -> None:
    body = draft_body(idempotency_key="k1")
    first = call(marketer, "post", "campaigns", body=body)
    again = call(marketer, "post", "campaigns", body=body)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert (Campaign.objects.count(), Offer.objects.count(), CampaignRevision.objects.count()) == (1, 1, 1)
    assert "idempotency_key" not in first.json()


def test_another_draft_under_the_same_key_is_refused(marketer: Browser) -> None:
    body = draft_body(idempotency_key="k1")
    call(marketer, "post", "campaigns", body=body)
    for changed in ({"name": "Winter"}, {"offers": [{**OFFER, "percent": "20.00"}]}, {"note": "another"}):
        problem(call(marketer, "post", "campaigns", body={**body, **changed}), 409, "key_reused")
    assert Campaign.objects.count() == 1


def test_a_key_counts_within_its_account_and_none_counts_for_nothing(marketer: Browser) -> None:
    body = draft_body(idempotency_key="k1")
    call(marketer, "post", "campaigns", body=body)
    assert call(person("add_campaign"), "post", "campaigns", body=body).status_code == 201
    for _ in range(2):
        call(marketer, "post", "campaigns", body=draft_body())
    assert Campaign.objects.count() == 4


def test_a_key_of_a_draft_that_was_refused_is_free(marketer: Browser) -> None:
    wrong = draft_body(idempotency_key="k1", offers=[{**OFFER, "percent": "0"}])
    assert call(marketer, "post", "campaigns", body=wrong).status_code == 400
    assert call(marketer, "post", "campaigns", body=draft_body(idempotency_key="k1")).status_code == 201
