"""Who was first with an event: its identity, claimed in one table whatever month the event itself lies in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db import models, transaction
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


def claim_key(source: str, event_id: str) -> UUID:
    """Return the key under which an event's identity is claimed: the first half of its SHA-256.

    The claim outlives the event, so it holds nothing that says whose event it was.
    """
    return UUID(claim_hex(source, event_id))


def claim_hex(source: str, event_id: str) -> str:
    """Return the same key as 32 hexadecimal digits: for thousands at once, to which a UUID object each adds up."""
    return hashlib.sha256(f"{source}\x1f{event_id}".encode()).hexdigest()[:32]


class EventClaim(models.Model):
    """One ``(source, event_id)``, taken for good: the log is cut into months, and no index of it can be unique.

    ``lapses_at``: its event went with its retention window; from then on nobody repeats it any more.
    """

    key = models.UUIDField(_("key"), primary_key=True)
    lapses_at = models.DateTimeField(_("lapses"), null=True, blank=True)

    class Meta:
        verbose_name = _("claim to an event")
        verbose_name_plural = _("claims to events")
        indexes = [models.Index(fields=["lapses_at"], condition=Q(lapses_at__isnull=False), name="pz_claim_lapses")]

    def __str__(self) -> str:
        return str(self.key)


class EventQuerySet(models.QuerySet[Any]):
    """Rows of the log; whoever adds some through the ORM claims them first."""

    def bulk_create(self, objs: Iterable[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """Claim and insert. Raises IntegrityError where one is known, ValueError for ``ignore_conflicts``."""
        if kwargs.get("ignore_conflicts") or kwargs.get("update_conflicts"):
            raise ValueError("The log has no unique key to conflict with: use api.track or tracking.storage.")
        rows = list(objs)
        with transaction.atomic(using=self.db):
            claims = [EventClaim(key=claim_key(row.source, row.event_id)) for row in rows]
            EventClaim.objects.using(self.db).bulk_create(claims, batch_size=kwargs.get("batch_size"))
            return super().bulk_create(rows, *args, **kwargs)
