"""What workers say is stored unworded and read in anybody's language; the catalogue knows all of it."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest
from django.utils.translation import get_language, override

from personalization.exceptions import NotEnoughData
from personalization.insight.observations import named
from personalization.learning import gate, sentences, wordings
from personalization.learning.gate import Check
from personalization.learning.sentences import Sentence
from personalization.types import HEADS, ModelTask

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


def test_a_moment_is_written_as_its_reader_writes_it() -> None:
    told = Sentence("%(at)s!", {"at": sentences.at("2026-11-23T08:30:00+00:00")})
    kept = sentences.read(json.loads(json.dumps(told.stored())))
    assert str(kept) == str(told) == "Nov. 23, 2026, 8:30 a.m.!"
    with override("zh-hans"):
        assert str(kept) == "2026年11月23日 08:30!"
    assert str(Sentence("%(at)s!", {"at": sentences.at("soon")})) == "!"
    assert str(Sentence("%(at)s!", {"at": sentences.at("0001-01-01T00:00:00+14:00")})) == "%(at)s!"


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
        ({"template": "%(n)d", "params": {"n": float("inf")}}, "%(n)d"),
        ({"template": "%(n).4f", "params": {"n": 10**400}}, "%(n).4f"),
        ({"template": "%(n)c", "params": {"n": 65}}, "%(n)c"),
        ({"template": "%(n)20s", "params": {"n": "x"}}, "%(n)20s"),
        ({"template": "%(n).200000000f", "params": {"n": 1.0}}, "%(n).200000000f"),
        ({"template": "%(n).2f of %(m)s, 5 %%", "params": {"n": 1.0, "m": "x"}}, "1.00 of x, 5 %"),
    ],
)
def test_what_another_version_stored_is_shown_as_it_is(stored: object, told: str) -> None:
    assert list(map(str, sentences.read_all([stored, 3, None, "", {}, {"template": 5}]))) == [told]


def test_sentences_within_sentences_end_somewhere() -> None:
    """A thousand deep, or doubled at every level: neither is stored by anybody who means it."""
    deep: dict[str, object] = {"template": "end", "params": {}}
    doubled: dict[str, object] = {"template": "x" * 40, "params": {}}
    listed: object = "end"
    for _level in range(5000):
        deep = {"template": "(%(a)s)", "params": {"a": deep}}
        doubled = {"template": "%(a)s" * 10, "params": {"a": doubled}}
        listed = [listed]
    assert str(sentences.read(deep)).startswith("((((")
    assert len(str(sentences.read(doubled))) <= sentences.MOST_LONG
    assert str(Sentence("(%(a)s)", {"a": listed})) == "()"
    three = Sentence("%(a)s!", {"a": Sentence("%(a)s?", {"a": ["x", Sentence("y")]})})
    assert str(three) == "x, y?!"


def test_no_sentence_of_ours_is_refused_as_not_plain() -> None:
    ours = [value for name, value in vars(wordings).items() if name.isupper() and isinstance(value, str)]
    ours += [note for notes in wordings.NOTES.values() for note in notes.values()]
    assert len(ours) > 100
    assert [text for text in ours if "%" in sentences.PLAIN.sub("", text)] == []


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
    sources = {path: path.read_text(encoding="utf-8") for path in (ROOT / "worker").rglob("*.py")}
    written = [path.name for path, source in sources.items() if "management" not in path.parts and in_words(source)]
    assert written == []
    for control in ('stage("reading", 0.1)', 'say(f"training {name}", 0.5)', 'raise NotEnoughData("Nothing.")'):
        assert in_words(control)


def in_words(source: str) -> bool:
    """Return whether a text is written out where a sentence is made, or a job's stage told."""
    return any(
        isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id in {"NotEnoughData", "Sentence", "stage", "say"}
        and isinstance(call.args[0], ast.Constant | ast.JoinedStr)
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call) and call.args
    )


@pytest.mark.parametrize("task", ModelTask)
def test_what_a_model_is_is_told_in_the_readers_language(task: ModelTask) -> None:
    notes = wordings.NOTES[task]
    with override("zh-hans"):
        assert [name for name in notes if not re.search("[\u4e00-\u9fff]", wordings.note(task, name))] == []
        assert wordings.note(task, "of another release") == ""
    assert all(wordings.note(task, name) == text for name, text in notes.items())


@pytest.mark.parametrize("code", [*HEADS, wordings.VALUE])
def test_what_a_model_was_judged_on_has_a_name(code: str) -> None:
    with override("zh-hans"):
        assert re.search("[\u4e00-\u9fff]", wordings.effect(code))
    assert wordings.effect("of another release") == "of another release"


def test_naming_a_column_leaves_the_readers_language_alone() -> None:
    with override("zh-hans"):
        named("orders_7d")
        assert get_language() == "zh-hans"
