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
            codes,
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
        from personalization.decisioning import withdrawal as decided
        from personalization.features import rollups
        from personalization.insight import feedback, monitoring
        from personalization.learning import chores, fairness, gate, handlers, retraining, summarise
        from personalization.learning import withdrawal as learnt
        from personalization.ports.signals import (
            consent_withdrawn,
            events_rewritten,
            shoppers_merged,
            shoppers_unmerged,
        )
        from personalization.privacy import logs
        from personalization.tracking import (
            audit,
            judging,
            ledger_guard,
            limits,
            partitions,
            quarantine,
            receivers,
            retention,
        )
        from personalization.tracking import merging as merges
        from personalization.types import JobKind

        logs.install()
        receivers.connect()
        shoppers_merged.connect(merging.take_over, dispatch_uid="personalization.merging")
        shoppers_unmerged.connect(merging.give_back, dispatch_uid="personalization.merging")
        consent_withdrawn.connect(learnt.on_withdrawn, dispatch_uid="personalization.learning.withdrawn")
        consent_withdrawn.connect(decided.on_withdrawn, dispatch_uid="personalization.decisioning.withdrawn")
        chores.register("merges", merges.settle)
        chores.register("bots", judging.judge_recent)
        events_rewritten.connect(feedback.rejoin, dispatch_uid="personalization.feedback")
        chores.register("merged_credit", merging.settle_credit)
        chores.register("reservations", redemption.expire_reservations)
        chores.register("gift_card_holds", giftcards.expire_holds)
        chores.register("liability", liability.drop_expired)
        chores.register("grants", grants.grant_due)
        chores.register("triggers", triggers.queue_hourly)
        chores.register("outbox", outbox.send_due)
        choices.register(push.choose)
        codes.register_rooms()
        handlers.register(JobKind.TRIGGERS, triggers.run)
        chores.register("reviews", risk.lapse)
        chores.register("alerts", alerts.check)
        post_migrate.connect(groups.after_migrate, sender=self)
        post_migrate.connect(audit.after_migrate, sender=self, dispatch_uid="personalization.audit")
        post_migrate.connect(ledger_guard.install, sender=self, dispatch_uid="personalization.ledger_guard")
        chores.register("campaigns", lifecycle.tick)
        chores.register("outcomes", feedback.join_outcomes)
        chores.register("rate_counts", limits.forget_old)
        chores.register("quarantine", quarantine.forget_old)
        chores.register("event_months", partitions.keep_house)
        chores.register("retention", retention.delete_old)
        chores.register("exports", exports.delete_old)
        handlers.register(JobKind.CODES, batches.run)
        handlers.register(JobKind.EXPORT, exports.run)
        events_rewritten.connect(rollups.on_rewritten, dispatch_uid="personalization.rollups.rewritten")
        chores.register("rollups", rollups.chore)
        chores.register("summaries", summarise.queue_daily)
        handlers.register(JobKind.SUMMARY, summarise.run)
        gate.register(gate.FAIRNESS, fairness.check)
        retraining.register_drift("monitoring", monitoring.drift_since)
        chores.register("monitoring", monitoring.queue_due)
        handlers.register(JobKind.MONITOR, monitoring.run)
        alerts.register(alerts.Kind.MODEL, monitoring.alert_text)
        alerts.register(alerts.Kind.FAIRNESS, monitoring.alert_text)
