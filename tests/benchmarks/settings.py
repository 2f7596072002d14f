"""Settings of a measured process: the test run's, with kept connections and the peers' addresses."""

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES, PERSONALIZATION

# Fifty visitors behind one address send what a town does: counted as ever, never refused.
PLENTY = ["session 900000000/m", "network 900000000/m"]
PERSONALIZATION = PERSONALIZATION | {"RATE_LIMITS": {"event": PLENTY}}
ROOT_URLCONF = "tests.benchmarks.urls"
if DATABASES["default"]["ENGINE"].endswith("postgresql"):
    DATABASES["default"]["CONN_MAX_AGE"] = 60  # as in production
