"""The web tier imports, starts and decides where nothing of the worker's is installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.support import simulated


def test_it_decides_without_anything_that_only_the_worker_needs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.web_tier"],
        cwd=simulated.ROOT,
        env=simulated.clean_environment(VAR_DIR=str(tmp_path), WITH_WORKER="0"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["worker_only"] == []
    assert figures["modules"] > 50
    assert figures["pages"] == {"/": 200, "/admin/login/": 200}
    assert figures["offers"] == ["Without torch"] or figures["arm"] == "holdout"
    assert figures["fallback"], "a decision without a model says so"


def test_the_block_is_real(tmp_path: Path) -> None:
    """The negative control: an import inside a function is refused as well."""
    probe = "from tests.integration.web_tier import Blocker\nimport sys\nsys.meta_path.insert(0, Blocker())\n"
    done = subprocess.run(
        [sys.executable, "-c", probe + "def late():\n    import torch\nlate()"],
        cwd=simulated.ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "torch is blocked" in done.stderr
