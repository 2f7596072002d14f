"""App configuration: hooks receivers and system checks."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class PersonalizationConfig(AppConfig):
    name = "personalization"
    verbose_name = _("Personalisation")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from personalization import checks  # noqa: F401
        from personalization.campaigns import (
            alerts,
            batches,
            choices,
            exports,
            giftcards,
            grants,
            groups,
            liability,
            lifecycle,
            merging,
            outbox,
            redemption,
            risk,
            triggers,
        )
        from personalization.decisioning import push
        from personalization.insight import feedback
        from personalization.learning import chores, handlers, summarise
        from personalization.ports.signals import shoppers_merged
        from personalization.tracking import limits, partitions, quarantine, receivers, retention
        from personalization.types import JobKind

        receivers.connect()
        shoppers_merged.connect(merging.take_over, dispatch_uid="personalization.merging")
        chores.register("reservations", redemption.expire_reservations)
        chores.register("gift_card_holds", giftcards.expire_holds)
        chores.register("liability", liability.drop_expired)
        chores.register("grants", grants.grant_due)
        chores.register("triggers", triggers.queue_hourly)
        chores.register("outbox", outbox.send_due)
        choices.register(push.choose)
        handlers.register(JobKind.TRIGGERS, triggers.run)
        chores.register("reviews", risk.lapse)
        chores.register("alerts", alerts.check)
        post_migrate.connect(groups.after_migrate, sender=self)
        chores.register("campaigns", lifecycle.tick)
        chores.register("outcomes", feedback.join_outcomes)
        chores.register("rate_counts", limits.forget_old)
        chores.register("quarantine", quarantine.forget_old)
        chores.register("event_months", partitions.keep_house)
        chores.register("retention", retention.delete_old)
        chores.register("exports", exports.delete_old)
        handlers.register(JobKind.CODES, batches.run)
        handlers.register(JobKind.EXPORT, exports.run)
        chores.register("summaries", summarise.queue_daily)
        handlers.register(JobKind.SUMMARY, summarise.run)
