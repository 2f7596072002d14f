"""Public data sets as parquet files, each read by one importer.

This module stays light: polars is imported only when an importer is asked for.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from personalization.exceptions import DatasetError

if TYPE_CHECKING:
    from personalization.management.datasets.base import DatasetImporter

NAMES = ("starbucks_offers", "online_retail_ii", "complete_journey")


def importer_for(name: str, folder: Path, *, limit: int | None = None) -> DatasetImporter:
    """Return the importer of this data set, with every file found, hashed and read through once.

    Raises DatasetError with one sentence that says what to do; nothing has been written by then.
    """
    if name not in NAMES:
        raise DatasetError(
            _("There is no data set “%(name)s”. Choose one of: %(names)s.") % {"name": name, "names": ", ".join(NAMES)}
        )
    try:
        module = import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        if error.name != "polars":
            raise
        raise DatasetError(
            _("Reading parquet files needs polars. Install it with: pip install 'personalization[import]'")
        ) from error
    importer: DatasetImporter = module.Importer(folder, limit=limit)
    return importer
