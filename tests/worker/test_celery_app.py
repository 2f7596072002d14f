"""Outside the demo shop the worker's Celery app asks for the shop's settings, in one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_without_the_demo_shop_it_asks_for_the_settings(tmp_path: Path) -> None:
    for package in ("worker", "personalization"):  # what the wheel holds
        (tmp_path / package).symlink_to(ROOT / package)
    environment = {key: value for key, value in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "worker", "report"],
        cwd=tmp_path, env=environment | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "Name your shop's settings: DJANGO_SETTINGS_MODULE=yourshop.settings celery -A worker" in done.stderr
