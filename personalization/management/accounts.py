"""Whom a command writes down for what it changes."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError


def account(username: str) -> Any:
    """Return the account with this name, None for an empty one; CommandError if there is no such account."""
    if not username:
        return None
    users = get_user_model()
    found = users._default_manager.filter(**{users.USERNAME_FIELD: username}).first()
    if found is None:
        raise CommandError(f"There is no account {username}: --by takes the username of a member of staff.")
    return found
