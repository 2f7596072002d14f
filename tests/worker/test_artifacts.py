"""Model files: whole or not there, checked before they are read, and never code."""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from personalization.exceptions import ArtifactCorrupt
from worker import artifacts
from worker.artifacts import CONFIG, WEIGHTS, Artifact

ROOT = Path(__file__).resolve().parents[2]
ARRAYS: dict[str, Any] = {"a": np.arange(6, dtype=np.float64).reshape(2, 3).T, "b/c": np.array([1, 2], dtype=np.uint8)}
CODE_LOADERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, settings: Any) -> Path:
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "ARTIFACTS": str(tmp_path / "models")}
    return tmp_path / "models"


@pytest.fixture
def written() -> Artifact:
    return artifacts.write("shop-response-logistic", {"naïve": [1, None], "x": 0.5}, ARRAYS)


def test_what_is_written_comes_back(written: Artifact, folder: Path) -> None:
    config, arrays = artifacts.read(written.path, written.sha256)
    assert config == {"naïve": [1, None], "x": 0.5}
    assert set(arrays) == set(ARRAYS)
    for name, values in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], values)
        assert arrays[name].dtype == values.dtype
    stored = sorted(path.name for path in (folder / written.path).iterdir())
    assert stored == sorted([CONFIG, WEIGHTS])
    assert written.size_bytes == sum(path.stat().st_size for path in (folder / written.path).iterdir())


def test_no_name_is_used_twice(written: Artifact) -> None:
    again = artifacts.write("shop-response-logistic", {"naïve": [1, None], "x": 0.5}, ARRAYS)
    assert again.path != written.path
    assert again.sha256 == written.sha256


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_changed_byte_is_noticed(name: str, written: Artifact, folder: Path) -> None:
    path = folder / written.path / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactCorrupt):
        artifacts.read(written.path, written.sha256)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
@pytest.mark.parametrize("left", [0, 7])
def test_a_file_cut_short_is_noticed(name: str, left: int, written: Artifact, folder: Path) -> None:
    path = folder / written.path / name
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(ArtifactCorrupt):
        artifacts.read(written.path, written.sha256)


def test_bytes_moved_from_one_file_to_the_other_are_noticed(written: Artifact, folder: Path) -> None:
    """The checksum covers the lengths: the same bytes divided otherwise are another model."""
    config, weights = folder / written.path / CONFIG, folder / written.path / WEIGHTS
    content = config.read_bytes()
    config.write_bytes(content[:-1])
    weights.write_bytes(content[-1:] + weights.read_bytes())
    with pytest.raises(ArtifactCorrupt):
        artifacts.read(written.path, written.sha256)


@pytest.mark.parametrize("missing", [CONFIG, WEIGHTS, None])
def test_what_is_missing_is_named(missing: str | None, written: Artifact, folder: Path) -> None:
    if missing is None:
        artifacts.delete(written.path)
    else:
        (folder / written.path / missing).unlink()
    with pytest.raises(ArtifactCorrupt, match=written.path):
        artifacts.read(written.path, written.sha256)


def test_the_wrong_checksum_is_refused(written: Artifact) -> None:
    with pytest.raises(ArtifactCorrupt):
        artifacts.read(written.path, "0" * 64)


@pytest.mark.parametrize(("name", "content"), [(CONFIG, b"{not json"), (WEIGHTS, b"\x80\x04K\x01."), (CONFIG, b"\xff")])
def test_a_file_that_cannot_be_parsed_is_refused_although_its_checksum_fits(
    name: str, content: bytes, written: Artifact, folder: Path
) -> None:
    """The second of these is what a pickle looks like: it is refused, not loaded."""
    (folder / written.path / name).write_bytes(content)
    parts = {part: (folder / written.path / part).read_bytes() for part in (CONFIG, WEIGHTS)}
    with pytest.raises(ArtifactCorrupt):
        artifacts.read(written.path, artifacts._checksum(parts))


def test_a_crash_while_writing_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        artifacts.write("x", {}, ARRAYS)
    assert list(folder.iterdir()) == []


def test_a_folder_under_its_final_name_is_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the moment of the renaming both files are complete, and synced before it."""
    synced: list[str] = []
    real_sync, real_rename = os.fsync, os.rename

    def fsync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real_sync(descriptor)

    def rename(source: Path, target: Path) -> None:
        assert {Path(path).name for path in synced} == {CONFIG, WEIGHTS}
        assert not [path for path in folder.iterdir() if not path.name.startswith(".")]
        real_rename(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    written = artifacts.write("x", {}, ARRAYS)
    assert artifacts.read(written.path, written.sha256)[0] == {}
    assert Path(synced[-1]) == folder  # the folder's own entry is synced last


def test_deleting_twice_is_no_error(written: Artifact) -> None:
    artifacts.delete(written.path)
    artifacts.delete(written.path)


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_nothing_that_loads_code_is_imported_anywhere() -> None:
    sources = [path for package in ("worker", "personalization", "shop") for path in (ROOT / package).rglob("*.py")]
    assert len(sources) > 100
    assert {str(path): found for path in sources if (found := imports(path) & CODE_LOADERS)} == {}


def test_torch_loads_no_file_of_its_own() -> None:
    for path in (ROOT / "worker").rglob("*.py"):
        assert "torch.load" not in path.read_text(encoding="utf-8")
        assert "torch.save" not in path.read_text(encoding="utf-8")


def test_the_import_test_can_fail(tmp_path: Path) -> None:
    """The negative control."""
    path = tmp_path / "bad.py"
    path.write_text("def f():\n    from pickle import loads\n")
    assert imports(path) & CODE_LOADERS == {"pickle"}
