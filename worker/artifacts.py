"""Model files: weights as safetensors, everything else as JSON, one folder a version, one checksum over both.

Written aside, synced, renamed: a folder under its final name is whole. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from personalization import conf
from personalization.exceptions import ArtifactCorrupt
from personalization.learning import wordings as words

WEIGHTS, CONFIG = "weights.safetensors", "model.json"
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Artifact:
    """A written folder, relative to the artefact root, with its checksum and size in bytes."""

    path: str
    sha256: str
    size_bytes: int


def write(name: str, config: dict[str, Any], arrays: Arrays) -> Artifact:
    """Write a version's files and return where they are and what their checksum is."""
    root = conf.artifacts_dir()
    root.mkdir(parents=True, exist_ok=True)
    folder = f"{name}-{uuid.uuid4().hex[:12]}"
    aside = root / f".{folder}.part"
    aside.mkdir()
    try:
        parts = _parts(config, arrays)
        for file_name, content in parts.items():
            _write_synced(aside / file_name, content)
        os.rename(aside, root / folder)
        _sync_folder(root)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return Artifact(folder, _checksum(parts), sum(map(len, parts.values())))


def weigh(config: dict[str, Any], arrays: Arrays) -> int:
    """Return how many bytes a version's files would take."""
    return sum(map(len, _parts(config, arrays).values()))


def _parts(config: dict[str, Any], arrays: Arrays) -> dict[str, bytes]:
    return {
        CONFIG: json.dumps(config, sort_keys=True, ensure_ascii=False).encode(),
        WEIGHTS: save({key: np.ascontiguousarray(value) for key, value in arrays.items()}),
    }


def read(path: str, sha256: str) -> tuple[dict[str, Any], Arrays]:
    """Return a version's config and arrays; raises ArtifactCorrupt unless the checksum matches."""
    folder = conf.artifacts_dir() / path
    try:
        parts = {name: (folder / name).read_bytes() for name in (CONFIG, WEIGHTS)}
    except OSError as error:
        raise ArtifactCorrupt(
            words.UNREADABLE, params={"path": path, "error": error.strerror or type(error).__name__}
        ) from None
    if _checksum(parts) != sha256:
        raise ArtifactCorrupt
    try:
        return json.loads(parts[CONFIG]), load(parts[WEIGHTS])
    except (ValueError, SafetensorError):
        raise ArtifactCorrupt from None


def delete(path: str) -> None:
    """Remove a version's files, if they are there. Only a plain folder name is taken: never the root, never beyond."""
    if not path or Path(path).name != path:
        raise ArtifactCorrupt(f"{path!r} is not the name of a model folder.")
    shutil.rmtree(conf.artifacts_dir() / path, ignore_errors=True)


def _checksum(parts: dict[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name in sorted(parts):
        digest.update(f"{name}:{len(parts[name])}:".encode())
        digest.update(parts[name])
    return digest.hexdigest()


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
