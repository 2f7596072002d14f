"""The shop's own choice of key, whatever the app's is."""

from django.apps import AppConfig


class CornerConfig(AppConfig):
    name = "corner"
    default_auto_field = "django.db.models.AutoField"
