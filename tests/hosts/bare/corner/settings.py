"""Settings of Corner Books, as the shop had them; what docs/install.md adds stands at the end."""

from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = "corner-books-development-key-that-is-long-enough-for-the-checks"
DEBUG = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "corner.urls"
AUTH_USER_MODEL = "corner.Reader"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "corner.sqlite3"}}
STATIC_URL = "static/"
USE_TZ = True
TIME_ZONE = "Europe/Berlin"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "corner",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# What docs/install.md adds:

INSTALLED_APPS += ["rest_framework", "personalization"]
MIDDLEWARE += ["personalization.tracking.middleware.ShopperMiddleware"]
PERSONALIZATION = {
    "CATALOG": "corner.adapters.Books",
    "ORDERS": "corner.adapters.Purchases",
    "SHOPPERS": "corner.adapters.Readers",
    "SLOTS": {"front_page": "Front page, above the shelves"},
    "CURRENCY": "EUR",
}
DATABASES["default"]["OPTIONS"] = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
}
