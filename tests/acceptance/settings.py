"""The demo shop as in production, under the strictest content security policy; nobody is drawn into the holdout."""

from shop.settings import *  # noqa: F403
from shop.settings import MIDDLEWARE, PERSONALIZATION

MIDDLEWARE = ["tests.acceptance.policy.StrictPolicy", *MIDDLEWARE]
PERSONALIZATION = PERSONALIZATION | {"HOLDOUT_PERCENT": 0.0}
