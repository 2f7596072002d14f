"""Settings of a measured process: the test run's, with kept connections and the peers' addresses."""

import os

from tests.settings import *  # noqa: F403
from tests.settings import CACHES, DATABASES, PERSONALIZATION

# Fifty visitors behind one address send what a town does: counted as ever, never refused.
PLENTY = ["session 900000000/m", "network 900000000/m"]
PERSONALIZATION = PERSONALIZATION | {"RATE_LIMITS": {"event": PLENTY}}
ROOT_URLCONF = "tests.benchmarks.urls"
if DATABASES["default"]["ENGINE"].endswith("postgresql"):
    DATABASES["default"]["CONN_MAX_AGE"] = 60  # as in production

_trouble = os.environ.get("BENCHMARK_TROUBLE", "")  # set by tests.benchmarks.pageview
if _trouble.startswith("broker"):
    BROKER_URL = CELERY_BROKER_URL = os.environ["BENCHMARK_TROUBLE_URL"]
elif _trouble == "cache_gone":
    CACHES["default"] = {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": os.environ["BENCHMARK_TROUBLE_URL"],
    }
elif _trouble == "cache_late":
    CACHES["default"] = {"BACKEND": "tests.benchmarks.pageview.LateCache"}
