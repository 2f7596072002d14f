"""The page of a model card: for whoever may view versions, of any record."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse

from tests.admin.builders import make_user, make_version
from tests.learning.test_card import STORED

pytestmark = pytest.mark.django_db


def url(pk: int) -> str:
    return reverse("admin:personalization_modelversion_card", args=[pk])


def test_a_card_is_shown_to_whoever_may_view_versions(client) -> None:
    version = make_version(card=STORED)
    client.force_login(make_user("view_modelversion"))
    html = client.get(url(version.pk)).content.decode()
    for words in (
        "gradient boosting",
        "How often the shopper buys",
        "orders in 28 days above 2.5",
        "83 %",
        "protected",
        "One offer, “Ten off”, gives 93 % of the outcomes",
        "18.6 % of 3,500",
    ):
        assert words in html
    assert (
        url(version.pk)
        in client.get(reverse("admin:personalization_modelversion_change", args=[version.pk])).content.decode()
    )
    client.force_login(make_user("view_job"))
    assert client.get(url(version.pk)).status_code == 403


def test_a_card_of_nothing_stored_is_a_page_all_the_same(client) -> None:
    client.force_login(make_user("view_modelversion"))
    assert client.get(url(make_version(card={}, metrics={}).pk)).status_code == 200
    assert client.get(url(999_999)).status_code == 302


def test_the_command_tells_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    version = make_version(card=STORED)
    call_command("board", card=version.pk)
    told = capsys.readouterr().out
    for words in (
        "60.0 %  How often the shopper buys",
        "loyalty level is “gold”: 50.0 % (10 % of rows)",
        "R² 83 %",
        "! One offer",
        "A quick model imitates it from a shopper’s last 20 events",
        "AUC of the quick model, all rows: 0.640 [0.620 – 0.660]",
    ):
        assert words in told
    with pytest.raises(CommandError, match="no version 999999"):
        call_command("board", card=999_999)


@pytest.mark.parametrize(("task", "told"), [("attractiveness", "over launches"), ("response", "over shoppers")])
def test_it_says_over_what_its_intervals_are(client, task: str, told: str) -> None:
    version = make_version(card=STORED, task=task)
    client.force_login(make_user("view_modelversion"))
    assert f"with intervals {told}" in client.get(url(version.pk)).content.decode()
