"""App configuration: hooks receivers and system checks."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class PersonalizationConfig(AppConfig):
    name = "personalization"
    verbose_name = _("Personalisation")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from personalization import checks  # noqa: F401
        from personalization.campaigns import lifecycle, redemption
        from personalization.insight import feedback
        from personalization.learning import chores
        from personalization.tracking import receivers

        receivers.connect()
        chores.register("reservations", redemption.expire_reservations)
        chores.register("campaigns", lifecycle.tick)
        chores.register("outcomes", feedback.join_outcomes)
