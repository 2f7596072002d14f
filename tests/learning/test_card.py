"""A version's card: what the training stored, in words; an old or broken record gives a shorter card, no error."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils.translation import override

from personalization.features.specification import NAMES, PROFILE
from personalization.features.topics import OF_FEATURE, shares
from personalization.learning import calibration
from personalization.learning import card as cards
from personalization.learning.rules import rules_of
from personalization.learning.sentences import Sentence
from personalization.learning.wordings import BETTER_SHARES
from personalization.pure import quick
from tests.admin.builders import make_campaign, make_offer, make_version

pytestmark = pytest.mark.django_db
TREE = {
    "feature": "orders_28d", "at": 2.5,
    "no": {"p": 0.1, "share": 0.6},
    "yes": {"feature": "tier", "is": "gold", "no": {"p": 0.2, "share": 0.3}, "yes": {"p": 0.5, "share": 0.1}},
}  # fmt: skip
STORED: dict[str, Any] = {
    "note": "gradient boosting",
    "judged_on": "redeem",
    "data": {
        "simulated": True, "shoppers": 1200, "events": 50_000, "exposures": 9000, "train_rows": 7000,
        "from": "2026-01-01T00:00:00+00:00", "until": "2026-01-15T00:00:00+00:00", "outcome_window_hours": 168.0,
        "diversity": {
            "counts": {"events": 50_000, "orders": 4000}, "duplicates": 2000, "missing": {"income": 0.97},
            "outcome": {"rows": 7000, "positives": 700, "offers": [["Ten off", 3500, 650], ["Gift", 3500, 50]],
                        "largest_offer": ["Ten off", 3500, 650]},
        },
    },
    "test": {"rows": 1000, "positives": 90, "shoppers": 400},
    "topics": {"frequency": 0.6, "gender": 0.1, "terms": 0.3},
    "importances": {"orders_28d": 0.6, "age_missing": 0.1},
    "calibration": {"bins": [[0.1, 0.12, 500], [0.4, 0.35, 500]], "ece": 0.02, "ece_by_chance": 0.03},
    "rules": {"r2": 0.83, "rows": 500, "held_out": 480, "tree": TREE},
    "quick": {
        "head": "redeem", "ships": True, "model": {},
        "all": {"rows": 1000, "auc": {"student": [0.64, 0.62, 0.66], "champion": [0.71, 0.69, 0.73],
                "mean": [0.6, 0.58, 0.62]}, "auc_lost": 0.07, "gain": [0.01, 0.005, 0.015]},
    },
    "reasons": ["boosting: better than logistic"],
}  # fmt: skip


def test_it_tells_what_was_stored() -> None:
    version = make_version(card=STORED)
    version.metrics |= {"fit_seconds": 12.3, "peak_mb": 512}
    card = cards.build(version)
    data = {row.name: row.value for row in card.data}
    assert (data["Shoppers"], data["Rows learnt from"], data["Simulated"]) == ("1,200", "7,000", "yes")
    assert "agreed to personalisation" in data["Consent"]
    assert [(topic.name, topic.text, topic.protected) for topic in card.topics] == [
        ("How often the shopper buys", "60.0 %", False),
        ("What the offer gives and asks", "30.0 %", False),
        ("Gender", "10.0 %", True),
    ]
    assert [(weight.name, weight.text) for weight in card.features] == [
        ("orders in 28 days", "60.0 %"),
        ("age", "10.0 %"),
        ("All the others together", "30.0 %"),
    ]
    assert [(row.value, row.interval) for row in card.metrics] == [
        ("0.310", "0.300 – 0.320"),
        ("0.710", "0.690 – 0.730"),
    ]
    assert (card.calibration_limit, card.calibration_points) == ("40 %", [(25.0, 70.0), (100.0, 12.5)])
    assert "no more than chance explains" in card.calibration_words
    assert {row.name: row.value for row in card.cost}["Fitting and calibrating"] == "12.3 s"


def sees(weights: dict[str, int] | None) -> str:
    """Return what the card says a quick model with these weights looks at."""
    model = (
        {"features": list(quick.NAMES), "weights": [[weights.get(name, 0) for name in quick.NAMES]]}
        if weights
        else None
    )
    return cards.build(make_version(card={**STORED, "quick": {**STORED["quick"], "model": model}})).quick_sees


def test_the_quick_model_says_what_it_sees_of_a_profile() -> None:
    """By the features and the weights as they are stored: what was pruned away is not seen."""
    everything = "income a year, days as a customer"
    unseen = "age, gender, town, loyalty level"
    assert f"last 20 events and of their profile {everything}, while" in sees(None)
    assert sees(None).endswith(f"Of their profile it does not see: {unseen}.")
    assert sees({"income": 3, "tenure": -4}) == sees({"income_known": 1, "tenure": 1}) == sees(None)
    only = sees({"viewed": 9, "tenure": 5})
    assert "of their profile days as a customer, while" in only
    assert "does not see: age, income a year, gender, town, loyalty level." in only
    assert "last 20 events alone" in sees({"viewed": 9})


def test_every_feature_of_a_profile_is_named_by_its_column() -> None:
    assert set(quick.OF_PROFILE) <= set(quick.NAMES)
    assert set(quick.OF_PROFILE.values()) <= {NAMES[place] for place in PROFILE}
    nobody = quick.features(quick.Known(person=quick.Person(income=30_000.0, tenure_days=10.0)), "")
    seen = {name for name, value in zip(quick.NAMES, nobody, strict=True) if value}
    assert seen == set(quick.OF_PROFILE), "without events, what is left is of the profile"


def test_a_strategy_tells_what_it_was_judged_on() -> None:
    """Its own rivals, not those of the response race that it was trained in."""
    board = {"gain_simpler": [0.04, 0.01, 0.07], "gain_reigning": [0.02, -0.01, 0.05]}
    rival = {"rival": "x", "rows": "900", "gain": 0.04, "low": 0.01, "high": 0.07}
    stored = {"judged_on": "value", "unseen": ["gift", "none"], "reasons": [Sentence(BETTER_SHARES, rival).stored()]}
    card = cards.build(make_version(task="strategy", estimator="four_part", metrics={"board": board}, card=stored))
    about = {row.name: row.value for row in card.about}
    assert about["What it is"] == "which kind of offer brings the largest share of the expected value"
    assert about["Judged on"] == "the value that followed each kind of offer, and none"
    assert about["Never logged, so not learnt"] == "Gift, No offer"
    assert [(row.name, row.value, row.interval) for row in card.metrics] == [
        ("gain over the same shares for everybody (weighted log-loss)", "0.040", "0.010 – 0.070"),
        ("gain over the strategy that reigned (weighted log-loss)", "0.020", "-0.010 – 0.050"),
    ]
    assert card.reasons[0].startswith("Better than x on the same 900 rows: gain in weighted log-loss")
    with override("zh-hans"):
        card = cards.build(card.version)
    assert {row.name: row.value for row in card.about}["评判依据"] == "各种优惠以及无优惠之后产生的价值"
    assert [row.value for row in card.about if "redeem" in row.value] == []


def test_the_quick_model_states_what_it_loses() -> None:
    card = cards.build(make_version(card=STORED))
    assert [(row.name, row.value, row.interval) for row in card.quick] == [
        ("AUC of the quick model, all rows", "0.640", "0.620 – 0.660"),
        ("AUC of the champion, all rows", "0.710", "0.690 – 0.730"),
        ("AUC of the offers’ averages, all rows", "0.600", "0.580 – 0.620"),
        ("AUC lost, all rows", "0.070", ""),
        ("Gain in log-loss over the averages, all rows", "0.010", "0.005 – 0.015"),
    ]
    assert card.quick_words.startswith("Used for")
    assert cards.build(make_version(card={})).quick_sees == ""
    refused = {**STORED, "quick": {**STORED["quick"], "ships": False}}
    assert cards.build(make_version(card=refused)).quick_words.startswith("Not used")


def test_features_and_topics_are_shares_of_the_same() -> None:
    """Twenty features, of which the card names the largest; what it shows adds up to all."""
    told = dict.fromkeys(list(OF_FEATURE)[:20], 1 / 20)
    card = cards.build(make_version(card={**STORED, "features": told, "topics": shares(told)}))
    assert len(card.features) == cards.MOST_FEATURES + 1
    for weights in (card.features, card.topics):
        assert sum(weight.share for weight in weights) == pytest.approx(1)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (0.02, "no more than chance explains (up to 0.030)"),
        (0.05, "more than chance explains (0.030), and within what is allowed (0.060)"),
        (0.07, "above what is allowed (0.060, twice what chance explains)"),
    ],
)
def test_calibration_is_told_by_the_bound_of_the_gate(error: float, told: str) -> None:
    assert calibration.allowed(0.03) == 0.06
    card = cards.build(make_version(card={**STORED, "calibration": {"ece": error, "ece_by_chance": 0.03}}))
    assert told in card.calibration_words


def test_a_blend_says_of_what() -> None:
    card = cards.build(make_version(card={**STORED, "mixture": {"boosting": 0.7, "four_part": 0.3}}))
    assert ("Blended of", "70 % boosting, 30 % four_part, by their logits") in [(r.name, r.value) for r in card.about]


def test_it_warns_of_data_that_is_lopsided() -> None:
    card = cards.build(make_version(card=STORED))
    assert card.warnings == [
        "One offer, “Ten off”, gives 93 % of the outcomes: little is learnt about the others.",
        "“income a year” is missing in 97.0 % of the rows.",
        "4.0 % of the events equal another one in everything: was something sent twice?",
    ]
    assert ("Orders", "4,000") in [(row.name, row.value) for row in card.diversity]
    assert [(row.name, row.value) for row in card.rates] == [
        ("Offers shown with the outcome", "10.0 % of 7,000"),
        ("Offer “Ten off”", "18.6 % of 3,500"),
        ("Offer “Gift”", "1.4 % of 3,500"),
    ]


def test_its_limits_come_from_its_data() -> None:
    told = " ".join(cards.build(make_version(card=STORED)).limits)
    for words in ("simulated", "14 days only", "90 positive outcomes", "Gender (10.0 % of the importances)"):
        assert words in told
    honest = {**STORED, "data": {**STORED["data"], "simulated": False, "until": "2026-12-31T00:00:00+00:00"},
              "test": {"positives": 5000}, "topics": {"terms": 1.0}}  # fmt: skip
    told = " ".join(cards.build(make_version(card=honest)).limits)
    for words in ("simulated", "days only", "positive outcomes", "protected attribute"):
        assert words not in told
    assert "whom an offer changes" in told


def test_it_is_compared_with_the_others_of_its_training() -> None:
    mine, rival = make_version(estimator="boosting"), make_version(estimator="logistic")
    rival.cutoff_at = mine.cutoff_at
    rival.save()
    make_version(estimator="of another task", task="strategy", cutoff_at=mine.cutoff_at)
    assert [row.name for row in cards.build(mine).compared] == ["logistic"]
    assert "0.710 [0.690 – 0.730]" in cards.build(mine).compared[0].value


@pytest.mark.parametrize(
    "stored",
    [{}, [], {"data": [], "topics": 3, "calibration": {"bins": [[1], "x"]}, "rules": {"tree": 7}, "importances": "x"}],
)
def test_an_old_or_broken_record_gives_a_shorter_card(stored: Any) -> None:
    card = cards.build(make_version(card=stored, metrics={"board": {"auc": ["x"], "ece": None}}))
    assert (card.topics, card.calibration, card.rules, card.metrics) == ([], [], None, [])
    assert card.about


def test_rules_are_told_in_words() -> None:
    rules = rules_of(STORED["rules"])
    assert rules is not None
    assert (rules.r2, rules.held_out) == ("83 %", "480")
    few, many = rules.rules
    assert (few.words, few.probability, few.share, few.then) == (
        "orders in 28 days at most 2.5",
        "10.0 %",
        "60 %",
        [],
    )
    assert many.words == "orders in 28 days above 2.5"
    assert [(rule.words, rule.probability) for rule in many.then] == [
        ("loyalty level is not “gold”", "20.0 %"),
        ("loyalty level is “gold”", "50.0 %"),
    ]


def test_rules_name_offers_and_say_what_is_unknown() -> None:
    offer = make_offer(make_campaign(), name="Ten off")
    leaf = {"p": 0.1, "share": 0.5}
    for node, yes in (
        ({"feature": "offer", "is": str(offer.pk)}, "offer is “Ten off”"),
        ({"feature": "offer", "is": "99999"}, "offer is “99999”"),
        ({"feature": "order_gap_hours", "at": -0.5}, "hours since the last order is known"),
    ):
        rules = rules_of({"tree": {**node, "no": leaf, "yes": leaf}})
        assert rules is not None
        assert rules.rules[1].words == yes


@pytest.mark.parametrize("odd", ["2026-01-01T00:00:00", "2026-13-41T00:00:00+00:00", 5, [1], 10**400])
def test_a_card_with_odd_values_is_shown_all_the_same(odd: Any) -> None:
    card = cards.build(make_version(card={"data": {"from": odd, "shoppers": odd}, "importances": {"age": odd}}))
    assert card.limits


@pytest.mark.parametrize(
    ("stored", "told", "in_chinese"),
    [
        (
            {"threads": 1, "precision": "float32", "deterministic": False},
            "CPU, 1 thread, float32",
            "CPU，1 个线程, float32",
        ),
        ({"threads": 8, "precision": "float32"}, "CPU, 8 threads, float32", "CPU，8 个线程, float32"),
        ({"gpu": "H100", "deterministic": True}, "H100, deterministic", "H100, 确定性模式"),
        ("CPU (2 threads), float32", "CPU (2 threads), float32", "CPU (2 threads), float32"),
    ],
)
def test_what_it_was_trained_on_is_told_in_the_readers_language(stored: object, told: str, in_chinese: str) -> None:
    made = make_version(card={"device": stored})
    for language, text in (("en", told), ("zh-hans", in_chinese)):
        with override(language):
            assert text in [row.value for row in cards.build(made).cost]
