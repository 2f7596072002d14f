"""Whom a command writes down for what it changes: an account that may do that."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError


def account(username: str, *permissions: str) -> Any:
    """Return the account with this name, None for an empty one.

    CommandError if there is no such account, or one that lacks a permission that the admin would ask for: nobody is
    written down for what they could not have done.
    """
    if not username:
        return None
    users = get_user_model()
    found = users._default_manager.filter(**{users.USERNAME_FIELD: username}).first()
    if found is None:
        raise CommandError(f"There is no account {username}: --by takes the username of a member of staff.")
    if not found.is_active:
        raise CommandError(f"The account {username} is not active: it may do nothing.")
    for permission in permissions:
        if not found.has_perm(permission):
            raise CommandError(f"The account {username} may not do this: it lacks the permission {permission}.")
    return found
