"""What workers say is stored unworded and read in anybody's language; the catalogue knows all of it."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from django.utils.translation import get_language, override

from personalization.exceptions import NotEnoughData
from personalization.insight.observations import named
from personalization.learning import gate, sentences, wordings
from personalization.learning.gate import Check
from personalization.learning.sentences import Sentence

ROOT = Path(__file__).resolve().parents[2]
GETTEXT = {"_", "gettext", "gettext_lazy", "gettext_noop"}


def test_a_sentence_within_a_sentence_is_read_in_the_readers_language() -> None:
    check = Check("distinct", False, wordings.CONSTANT)
    told = Sentence(wordings.REFUSED, {"estimator": "four_part", "said": check.said})
    kept = sentences.read(json.loads(json.dumps(told.stored())))
    assert str(kept) == "four_part: refused. It predicts the same for everybody."
    with override("zh-hans"):
        assert str(kept) == "four_part：未采用。它对所有人的预测都相同。"
        assert str(kept) == str(told)


def test_several_are_put_into_one() -> None:
    few = sentences.of_error(NotEnoughData(wordings.FEW_LINES, params={"have": "3", "need": "500"}))
    none = Sentence(wordings.NO_PREFERENCE, {"said": few})
    error = NotEnoughData("%(first)s %(second)s", params={"first": none, "second": few})
    assert error.message == f"No preference rankers: {few} {few}"
    kept = sentences.read(json.loads(json.dumps(sentences.of_error(error).stored())))
    assert str(kept) == error.message
    listed = Sentence("%(said)s", {"said": [none, few]})
    assert str(sentences.read(json.loads(json.dumps(listed.stored())))) == error.message
    assert str(Sentence("%(names)s", {"names": ["a", "b"]})) == "a, b"


def test_checks_keep_sentences_as_parameters() -> None:
    check = Check(
        "reigning", None, wordings.LOST, {"rival": "x #1", "problem": Sentence(wordings.NO_ESTIMATOR, {"name": "x"})}
    )
    (kept,) = gate.checks_of({"gate": json.loads(json.dumps(gate.stored([check])))})
    assert kept.sentence == "x #1 cannot be asked any more: there is no estimator x here"


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        ("an older training's text, 100 % finished", "an older training's text, 100 % finished"),
        ({"template": "%(missing)s", "params": {"other": 1}}, "%(missing)s"),
        ({"template": "100 % of it", "params": []}, "100 % of it"),
        ({"template": "%(n)d", "params": {"n": "x"}}, "%(n)d"),
    ],
)
def test_what_another_version_stored_is_shown_as_it_is(stored: object, told: str) -> None:
    assert list(map(str, sentences.read_all([stored, 3, None, "", {}, {"template": 5}]))) == [told]


def test_an_error_raised_with_any_parameters_can_be_stored() -> None:
    error = NotEnoughData("%(what)s", params={"what": ROOT})
    json.dumps(sentences.of_error(error).stored())


def called(path: Path) -> set[str]:
    return {
        call.func.id
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
    }


def test_the_worker_words_nothing_itself() -> None:
    """It has no catalogue: a text of its own would be read in English by everybody."""
    offenders = [path for path in (ROOT / "worker").rglob("*.py") if called(path) & GETTEXT]
    assert offenders == []
    assert called(ROOT / "personalization/learning/wordings.py") & GETTEXT  # the control: such a call is found


def test_the_worker_refuses_in_words_of_the_catalogue() -> None:
    written = [
        f"{path.name}: {ast.unparse(call)[:80]}"
        for path in (ROOT / "worker").rglob("*.py")
        if "management" not in path.parts
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.args
        if call.func.id in {"NotEnoughData", "Sentence"} and isinstance(call.args[0], ast.Constant | ast.JoinedStr)
    ]
    assert written == []


def test_naming_a_column_leaves_the_readers_language_alone() -> None:
    with override("zh-hans"):
        named("orders_7d")
        assert get_language() == "zh-hans"
