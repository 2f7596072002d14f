"""Serves a page with everything that only the worker needs blocked; run as ``python -m tests.integration.web_tier``.

An import of torch and its like raises here, wherever it stands: at the top of a module or inside a function.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

BLOCKED = {"torch", "celery", "kombu", "lightgbm", "scipy", "sklearn", "polars"}
IMPORTER = "personalization.management."
"""Importing data sets needs polars, an extra of its own, and happens on no web server."""


class Blocker(MetaPathFinder):
    """Refuses what the web tier must do without."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] in BLOCKED:
            raise ImportError(f"{fullname} is blocked: the web tier runs without it")
        return None


def main() -> None:
    sys.meta_path.insert(0, Blocker())
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    loaded = import_everything("personalization") + import_everything("shop")

    from django.test import Client

    from personalization import api
    from tests.support import build

    build.offer(slots=["home_hero"], headline="Without torch")
    shopper = build.shopper()
    result = api.decide("home_hero", shopper=shopper)
    pages = {path: Client().get(path, headers={"host": "localhost"}).status_code for path in ("/", "/admin/login/")}
    figures = {
        "modules": len(loaded),
        "offers": [offer.headline for offer in result.offers],
        "arm": result.arm,
        "fallback": result.fallback,
        "pages": pages,
        "worker_only": sorted(BLOCKED & set(sys.modules)),
    }
    print(json.dumps(figures))


def import_everything(package: str) -> list[str]:
    """Import every module of a package, but for the data set importers."""
    root = importlib.import_module(package)
    names = [
        found.name
        for found in pkgutil.walk_packages(root.__path__, f"{package}.")
        if not found.name.startswith(IMPORTER)
    ]
    for name in names:
        importlib.import_module(name)
    return names


if __name__ == "__main__":
    main()
