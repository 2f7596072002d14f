"""Folders that a killed training left beside the models are told of, and left alone."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from pytest_django import Settings

from personalization.insight.doctor import examine
from tests.admin.builders import make_version

pytestmark = pytest.mark.django_db


def test_what_no_version_claims_is_told(settings: Settings, tmp_path: Path) -> None:
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "ARTIFACTS": str(tmp_path)}
    make_version(path="known-1")
    for name, days in (("known-1", 3), ("lost-2", 3), (".torn-3.part", 3), ("new-4", 0)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "model.json").write_text("{}")
        os.utime(folder, 2 * (time.time() - days * 86_400,))
    (told,) = [finding for finding in examine() if "belong to no version" in finding.text]
    assert told.level == "hint"
    assert told.text.startswith("Models: 2 folders (0 MB)")
    assert len(list(tmp_path.iterdir())) == 4
    for name in ("lost-2", ".torn-3.part"):
        (tmp_path / name / "model.json").unlink()
        (tmp_path / name).rmdir()
    assert not [finding for finding in examine() if "belong to no version" in finding.text]
