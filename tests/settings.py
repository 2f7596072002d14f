"""Settings of the test run: the demo shop's, with a folder of its own, quick passwords and a quiet log.

``DATABASE_URL`` chooses the database. The default is a SQLite file with the demo's own options (WAL,
IMMEDIATE), so that every connection of a test sees what production sees; ``:memory:`` would not.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

# Before the shop's settings are read: nothing of a test run may touch the demo's own files. Processes that a test
# starts are handed their test's folder (TEST_VAR_DIR), so that those it kills leave nothing behind.
VAR_DIR = Path(os.environ.get("TEST_VAR_DIR") or tempfile.mkdtemp(prefix="pz-test-"))
_owner = 0 if "TEST_VAR_DIR" in os.environ else os.getpid()


def _remove_var_dir() -> None:
    if os.getpid() == _owner:  # a forked child shares the folder and must leave it alone
        shutil.rmtree(VAR_DIR, ignore_errors=True)


atexit.register(_remove_var_dir)
(VAR_DIR / "static").mkdir(exist_ok=True)  # nothing is collected in tests; whitenoise looks there all the same
os.environ["VAR_DIR"] = str(VAR_DIR)
os.environ["DEBUG"] = "1"
for name in ("REDIS_URL", "CELERY_BROKER_URL", "ARTIFACTS_DIR", "PERSONALIZATION_SECRET_KEYS", "WITH_WORKER"):
    os.environ.pop(name, None)
# Test processes share the cores: numerical libraries get one thread each, set before any is imported.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

from shop.settings import *  # noqa: E402, F403
from shop.settings import DATABASES, LOGGING, STORAGES  # noqa: E402

DEBUG = False
ALLOWED_HOSTS = ["*"]
SECRET_KEY = "a-key-of-the-test-run-that-guards-nothing"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
LOGGING["root"]["level"] = "WARNING"  # type: ignore[index]

if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["TEST"] = {"NAME": str(VAR_DIR / "test.sqlite3")}
DATABASES["default"].pop("CONN_MAX_AGE", None)  # a finished thread keeps no connection to a scratch database
