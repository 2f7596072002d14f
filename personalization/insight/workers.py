"""How a worker is started where none runs: told by ``doctor`` and by pages that wait for one."""

from __future__ import annotations

import os


def command() -> str:
    """Return the command that starts a worker which does all kinds of jobs, with this process's settings."""
    module = os.environ.get("DJANGO_SETTINGS_MODULE", "")
    named = "" if module == "shop.settings" else f"DJANGO_SETTINGS_MODULE={module} "
    return f"{named}celery -A worker worker -B -Q default,gpu"
