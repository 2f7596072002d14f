"""Who did what with codes: a line in the log, and one in the admin's history where the admin is installed.

What is written here holds ids and numbers, never a code.
"""

from __future__ import annotations

import logging
from typing import Any

from django.apps import apps
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model

logger = logging.getLogger("personalization.audit")


def note(by: Any, subject: Model, what: str) -> None:
    """Record that ``by`` (an account, or None for a program) did this to the subject."""
    who = f"account {by.pk}" if by is not None else "a command"
    logger.info("%s: %s %s: %s", who, subject._meta.model_name, subject.pk, what)
    if by is None or not apps.is_installed("django.contrib.admin"):
        return
    from django.contrib.admin.models import CHANGE, LogEntry  # the app may run without the admin

    LogEntry.objects.create(
        user_id=by.pk,
        content_type=ContentType.objects.get_for_model(subject),
        object_id=str(subject.pk),
        object_repr=str(subject)[:200],
        action_flag=CHANGE,
        change_message=what,
    )
