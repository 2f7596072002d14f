"""The shape of the code: directions of import, sizes, words that stand for unfinished work, and the guide's truth."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts import guide

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("personalization", "worker", "shop", "tests")
MOST_LINES = 400
# Put together here, so that this file does not contain them.
UNFINISHED = ("TO" + "DO", "FIX" + "ME", "XX" + "X", "NotImplemented" + "Error", "pragma: no " + "cover")
UNSAFE = ("pickle.load", "pickle.loads", "torch.load", "joblib.load", "yaml.load(", "mark_safe(f")
PRODUCT = ("personalization", "worker", "shop")


def sources(*packages: str) -> Iterator[Path]:
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            if "migrations" not in path.parts and "__pycache__" not in path.parts:
                yield path


def containing(words: tuple[str, ...], paths: Iterator[Path]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}: {word}"
        for path in paths
        for word in words
        if path != Path(__file__) and word in path.read_text(encoding="utf-8")
    ]


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [
        str(Path(sys.executable).with_name("lint-imports")),
        "--no-cache",
        "--config",
        str(ROOT / ".importlinter"),
    ]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_imports_go_one_way() -> None:
    linted = lint_imports(ROOT)
    assert linted.returncode == 0, linted.stdout[-4000:]
    assert "0 broken" in linted.stdout


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("personalization/pure/money.py", "personalization.models"),
        ("personalization/tracking/storage.py", "personalization.campaigns.coupons"),
        ("personalization/decisioning/decide.py", "torch"),
        ("shop/basket.py", "personalization.models"),
        ("worker/data.py", "personalization.campaigns.coupons"),
    ],
)
def test_an_import_the_other_way_is_found(importer: str, imported: str, tmp_path: Path) -> None:
    """The negative control: with a forbidden line in one file, the linter objects."""
    for package in PRODUCT:
        for path in sources(package):
            copy = tmp_path / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(path.read_text())
    with (tmp_path / importer).open("a") as file:
        file.write(f"\nimport {imported}\n")
    linted = lint_imports(tmp_path)
    assert linted.returncode != 0
    assert imported in linted.stdout


def test_no_file_has_grown_out_of_hand() -> None:
    grown = {
        str(path.relative_to(ROOT)): lines
        for path in sources(*PACKAGES)
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) >= MOST_LINES
    }
    assert grown == {}


def test_nothing_is_left_unfinished() -> None:
    assert containing(UNFINISHED, sources(*PACKAGES)) == []


def test_no_code_is_loaded_from_a_file() -> None:
    assert containing(UNSAFE, sources(*PRODUCT)) == []


def test_there_is_no_drawer_for_everything() -> None:
    assert [path for path in sources(*PACKAGES) if path.stem in {"utils", "helpers", "misc", "common"}] == []


def test_templates_carry_no_inline_script_or_style() -> None:
    inline = re.compile(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=\"|javascript:|https?://(?!www\.w3\.org/)")
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for package in PRODUCT
        for path in sorted((ROOT / package).rglob("templates/**/*.html"))
        for match in inline.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize("snippet", guide.snippets(), ids=lambda snippet: snippet.code.strip().splitlines()[0][:50])
def test_the_guide_shows_what_the_foreign_shop_does(snippet: guide.Snippet) -> None:
    """docs/install.md and tests/hosts/bare say the same."""
    assert snippet.code in (guide.HOST / snippet.path).read_text(encoding="utf-8")


def test_the_foreign_shop_owes_nothing_to_ours() -> None:
    foreign = re.compile(r"^\s*(?:from|import) (shop|worker|tests)\b", re.M)
    offenders = [path for path in guide.HOST.rglob("*.py") if foreign.search(path.read_text(encoding="utf-8"))]
    assert offenders == []
