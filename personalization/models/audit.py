"""Who looked at whose personal data, gave it out, erased it, and who decided which model serves shoppers.

Append-only, and without personal data of its own.
"""

from __future__ import annotations

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from personalization.ports.moments import moment

REFERENCE = r"[A-Za-z0-9][A-Za-z0-9#/_.-]{0,39}"
"""A ticket's or a letter's number: no space and no @, so that no name and no address gets into the log."""


class AuditEntry(models.Model):
    """One deed. Triggers in the database refuse to change or delete it (:mod:`personalization.tracking.audit`).

    An entry outlives whoever did it (``by`` keeps the key of an account that is gone) and whom it is about:
    ``subject`` is a keyed pseudonym where that is a shopper, so that after an erasure nothing in the database leads
    from it to a person.
    """

    class Action(models.TextChoices):
        VIEWED = "viewed", _("shown")
        EXPORTED = "exported", _("given out")
        ERASED = "erased", _("erased")
        UNMERGED = "unmerged", _("taken apart")
        ROTATED = "rotated", _("keys changed")
        PROMOTED = "promoted", _("promoted")
        ROLLED_BACK = "rollback", _("rolled back")

    class Why(models.TextChoices):
        REQUEST = "request", _("the shopper asked for it")
        SUPPORT = "support", _("to help the shopper")
        ABUSE = "abuse", _("a suspicion of abuse")
        LEGAL = "legal", _("an authority or a court asked for it")
        FAULT = "fault", _("to find a fault")

    at = models.DateTimeField(_("at"), default=timezone.now, editable=False)
    action = models.CharField(_("what"), max_length=10, choices=Action.choices)
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("by"),
        null=True,
        editable=False,
        db_constraint=False,  # the key stays when the account goes: nothing here is ever changed
        on_delete=models.DO_NOTHING,
        related_name="+",
    )
    kind = models.CharField(_("of what"), max_length=40)
    subject = models.CharField(_("pseudonym or key"), max_length=64, blank=True)
    why = models.CharField(_("reason"), max_length=10, choices=Why.choices, blank=True)
    reference = models.CharField(
        _("reference"),
        max_length=40,
        blank=True,
        validators=[RegexValidator(rf"^{REFERENCE}$", _("A ticket’s number: letters, digits and #/_.- only."))],
    )
    details = models.JSONField(_("details"), default=dict, blank=True, help_text=_("Counts and keys, no values."))

    class Meta:
        verbose_name = _("audit log entry")
        verbose_name_plural = _("audit log entries")
        default_permissions = ("view",)
        indexes = [
            models.Index(fields=["subject", "at"], name="pz_audit_subject"),
        ]

    def __str__(self) -> str:
        return f"{moment(self.at)}: {self.get_action_display()}"
