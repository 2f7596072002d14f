"""What pages once showed as JSON or codes: the audit log, averages of a score set, what a decision used, dates."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from django.urls import reverse
from django.utils.translation import override

from personalization.admin import deeds, predictions
from personalization.admin.explanation import feature_values
from personalization.models import AuditEntry, Decision, Exposure, ModelVersion
from personalization.tracking import audit
from tests.admin.builders import make_campaign, make_everything, make_offer, make_shopper, make_user, make_version

pytestmark = pytest.mark.django_db
Action = AuditEntry.Action
AT = datetime(2026, 11, 23, 8, 30, tzinfo=UTC)
ISO = re.compile(r"\b20\d\d-\d\d-\d\d\b")


def text(markup: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", str(markup))).strip()


def test_a_deed_is_told_in_words() -> None:
    version = make_version(estimator="boosting")
    entry = audit.note(
        Action.ERASED, rows={"events": 1200, "coupon": 3, "set_aside_unowned": 0, "own": 1}, models=[version.pk, 10**6]
    )
    told = text(deeds.details(entry))
    assert "Rows Events: 1,200 Coupons: 3 Own: 1" in told
    assert f"Models that may have learnt from them {version} , #1000000" in told
    rolled = audit.note(
        Action.ROLLED_BACK, kind="modelversion", task="strategy", instead_of=version.pk, dropped=4, score_set=None
    )
    told = text(deeds.details(rolled))
    assert told == f"Task strategy Instead of {version} Shoppers left out of them 4"
    assert [deeds.of_what(each) for each in (entry, rolled)] == ["shopper", "model version"]
    with override("zh-hans"):
        told = text(deeds.details(entry))
        assert "行数 事件: 1200 优惠券: 3" in told
        assert deeds.of_what(audit.note(Action.ROTATED, kind="keys", rows=7)) == "加密和哈希密钥"


@pytest.mark.parametrize(
    "details", [{}, [], "text", ["a"], {"rows": "x", "models": {"a": 1}, "task": [], "own": {"a": [1]}}]
)
def test_a_deed_of_any_shape_is_told(details: Any) -> None:
    entry = audit.note(Action.VIEWED)
    entry.details = details
    assert isinstance(deeds.details(entry), str)


def test_every_kind_of_row_that_goes_into_the_log_has_a_name() -> None:
    """By the names under which rooms hand out and erase."""
    for name in (*deeds.EXPORTED, *deeds.RELATED, *deeds.ROOMS):
        with override("zh-hans"):
            assert re.search("[\u4e00-\u9fff]", deeds._room(name)), name


def test_the_averages_of_a_set_are_a_table(client: Any) -> None:
    made = make_everything()
    offer, score_set = made["exposure"].offer, made["scoreset"]
    score_set.defaults = {
        "offers": {str(offer.pk): [0.6, 0.2, 0.05, 0.08], "99999": [0.1, 0.1, 0.1, 0.1], "x": "y"},
        "kinds": {"coupon": [0.5, 0.1, 0.04, 0.07]},
        "strategy": {"coupon": 0.7, "none": 0.3},
        "basket_minor": 4200,
        "items": ["p-1"],
        "quick": {"weights": [[1, 2]]},
    }
    told = text(predictions.defaults(score_set))
    assert f"{offer.name} View 60.0 % · Click 20.0 % · Redeem 5.0 % · Purchase 8.0 %" in told
    assert "Offer 99999 (gone) View 10.0 %" in told
    assert "Any Coupon View 50.0 %" in told
    assert "Likely kinds of offer Coupon 70.0 %, No offer 30.0 %" in told
    assert "Expected basket €42.00 Products A shoe Quick model yes" in told
    assert "weights" not in told
    score_set.save()
    client.force_login(make_user("view_scoreset"))
    page = client.get(reverse("admin:personalization_scoreset_change", args=[score_set.pk])).content.decode()
    assert "Any Coupon" in page
    assert "pz-json" not in page


USED: dict[str, Any] = {
    "score_set": 12,
    "strategy": {"coupon": 0.25, "none": 0.75},
    "values": {"basket_minor": 4200, "visit_rate": 0.13, "interest": {"Tea": 0.4}},
    "recent_interest": {"Coffee": 0.9},
    "context": {"page": "home"},
    "assignment": {"salt": "s-1", "limit": 3, "exploration": 0.1, "holdout_percent": 5.0},
}


def test_what_a_decision_used_is_told_in_words() -> None:
    told = dict(feature_values(USED))
    assert told == {
        "Scores": "#12",
        "Likely kinds of offer": "No offer 75.0 %, Coupon 25.0 %",
        "Expected basket": "€42.00",
        "Visits a day": "0.1300",
        "Interests": "Tea 40.0 %",
        "Interests of late": "Coffee 90.0 %",
        "Context": "page: home",
        "Places": "3",
        "Drawn by chance": "10.0 %",
        "Share in the holdout": "5.00 %",
    }
    assert "s-1" not in str(told)
    assert dict(feature_values({"recent_interest": {"Tea": 0.0}}))["Interests of late"] == "–"
    assert dict(feature_values({"strategy": "odd", "values": [1], "assignment": 3}))["Strategy"] == "odd"


def test_a_versions_page_tells_its_card_in_words_and_keeps_the_record_folded(client: Any) -> None:
    version = make_version(estimator="boosting", card={"judged_on": "redeem", "data": {"shoppers": 1200}})
    client.force_login(make_user("view_modelversion"))
    url = reverse("admin:personalization_modelversion_change", args=[version.pk])
    page = client.get(url).content.decode()
    folded = page.index("Card and metrics as stored")
    assert "gradient boosting (LightGBM)" in page[:folded]
    assert "1,200" in page[:folded]
    assert "pz-json" not in page[:folded]
    assert page.count("pz-json") == 2
    chinese = client.get(url, headers={"accept-language": "zh-hans"}).content.decode()
    assert "基于表格特征的梯度提升（LightGBM）" in chinese
    assert "log loss" not in chinese
    assert "对数损失（越低越好）" in chinese


def test_the_board_merges_what_does_not_decide(client: Any) -> None:
    figures = {
        "log_loss": [0.3, 0.2, 0.4],
        "auc": [0.7, 0.6, 0.8],
        "auc_view": [0.61, 0.6, 0.62],
        "auc_click": [0.59, 0.5, 0.6],
    }
    make_version(estimator="boosting", metrics={"board": figures, "fit_seconds": 12.3, "peak_mb": 512})
    client.force_login(make_user("view_modelversion"))
    page = client.get(reverse("admin:personalization_modelversion_changelist")).content.decode()
    head = re.search(r'<table class="pz-table pz-board">.*?</thead>', page, re.S)
    assert head is not None
    assert [text(cell) for cell in re.findall(r"<th.*?</th>", head[0], re.S)] == [
        "Estimator", "log-loss", "AUC", "AUC of other effects", "Cost",
    ]  # fmt: skip
    assert "view 0.6100 (0.6000 – 0.6200) click 0.5900 (0.5000 – 0.6000)" in text(page)
    assert "Fit (s) 12.30 Memory (MB) 512" in text(page)


def test_the_board_says_of_a_strategy_what_it_was_held_against(client: Any) -> None:
    def check(name: str, passed: bool | None, template: str) -> dict[str, Any]:
        return {"name": name, "passed": passed, "template": template, "params": {}}

    gate = [
        check("simpler", True, "Better than x."),
        check("reigning", None, "Nobody reigns yet."),
        check("size", False, "5 MB."),
    ]
    board = {"gain_simpler": [0.04, 0.01, 0.07]}
    stored = {"board": board, "gate": gate, "challenger": True}
    make_version(task="strategy", estimator="four_part", metrics=stored)
    make_version(task="response", estimator="boosting", metrics={"gate": gate, "challenger": True})
    client.force_login(make_user("view_modelversion"))
    page = text(client.get(reverse("admin:personalization_modelversion_changelist")).content.decode())
    of_response, of_strategy = page[page.index("Board: response") :].split("Board: strategy")
    assert "gain over the same shares" in of_strategy
    assert "Better than x. Nobody reigns yet. Not promoted: 5 MB." in of_strategy
    assert "Better than x." not in of_response
    assert "Not promoted: 5 MB." in of_response


def test_titles_write_dates_as_the_page_does(client: Any) -> None:
    offer = make_offer(make_campaign())
    shopper = make_shopper()
    decision = Decision(slot="home_hero", policy="?", at=AT)
    exposure = Exposure.objects.create(
        shopper=shopper, campaign=offer.campaign, offer=offer, exposed_at=AT, window_ends_at=AT, arm="holdout"
    )
    entry = audit.note(Action.VIEWED)
    entry.at = AT
    assert str(decision) == "home_hero, Nov. 23, 2026, 8:30 a.m."
    assert str(exposure) == "holdout, Nov. 23, 2026, 8:30 a.m."
    assert str(entry) == "Nov. 23, 2026, 8:30 a.m.: shown"
    with override("zh-hans"):
        assert str(exposure) == "留白组, 2026年11月23日 08:30"


@pytest.mark.parametrize(
    "name", ["decision", "exposure", "event", "redemption", "monitoringreport", "modelversion", "job"]
)
def test_no_page_mixes_iso_dates_in(client: Any, name: str) -> None:
    made = make_everything()
    client.force_login(make_user(*(f"view_{model}" for model in made)))
    page = client.get(reverse(f"admin:personalization_{name}_change", args=[made[name].pk])).content.decode()
    shown = re.sub(
        r"<details.*?</details>|<fieldset class=\"module aligned collapse.*?</fieldset>|<pre.*?</pre>",
        " ",
        page,
        flags=re.S,
    )
    assert ISO.findall(text(shown)) == []
    assert ModelVersion.objects.exists()
