"""Which sessions look like a program's, by which rule or by whose word."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from personalization.models.keys import staff_key
from personalization.ports.moments import moment


class SessionVerdict(models.Model):
    """What was judged of one session. ``flagged`` and ``cleared`` say which events it changed, so that it can change.

    A session is named by its shopper and its first event's moment. Staff's word (``by``) stands until they ask for
    another judgement.
    """

    shopper = models.ForeignKey(
        "personalization.Shopper", verbose_name=_("shopper"), on_delete=models.CASCADE, related_name="+"
    )
    first_at = models.DateTimeField(_("began"))
    last_at = models.DateTimeField(_("ended"))
    events = models.PositiveIntegerField(_("events"))
    is_bot = models.BooleanField(_("looks like a bot"))
    rule = models.CharField(_("rule"), max_length=20, blank=True, help_text=_("Empty: a person, or by staff’s word."))
    by = staff_key(_("by"))
    at = models.DateTimeField(_("judged"), default=timezone.now)
    flagged = models.JSONField(_("events flagged"), default=list)
    cleared = models.JSONField(_("events cleared"), default=list)

    class Meta:
        verbose_name = _("judged session")
        verbose_name_plural = _("judged sessions")
        constraints = [
            models.UniqueConstraint(fields=["shopper", "first_at"], name="pz_verdict_once"),
            models.CheckConstraint(condition=Q(last_at__gte=F("first_at")), name="pz_verdict_span"),
        ]
        indexes = [models.Index(fields=["rule", "at"], condition=Q(is_bot=True), name="pz_verdict_bots")]
        permissions = [("judge_sessionverdict", "Can judge sessions")]

    def __str__(self) -> str:
        return f"{self.shopper_id}, {moment(self.first_at)}"
