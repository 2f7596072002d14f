"""App configuration: hooks receivers and system checks."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class PersonalizationConfig(AppConfig):
    name = "personalization"
    verbose_name = _("Personalisation")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from personalization import checks  # noqa: F401
        from personalization.tracking import receivers

        receivers.connect()
