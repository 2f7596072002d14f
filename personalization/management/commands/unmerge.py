"""``manage.py unmerge``: list the merges of a shopper, or take one back."""

from __future__ import annotations

import uuid
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db.models import Q

from personalization.exceptions import PersonalizationError
from personalization.management.accounts import account
from personalization.management.arguments import AppCommand
from personalization.models import ShopperMerge
from personalization.tracking.merging import unmerge

PERMISSIONS = ("personalization.view_shoppermerge", "personalization.undo_shoppermerge")


class Command(AppCommand):
    help = "Takes a merge of two shoppers back: what it moved returns to the visitor. With --list it only tells."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("merge", type=int, nargs="?", help="the merge's number, as --list and the admin tell it")
        parser.add_argument("--list", metavar="KEY", default="", help="tell the merges of the shopper with this key")
        parser.add_argument(
            "--by", default="", metavar="USERNAME", help="the account to write down, one that may do this"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["list"]:
            self._tell(options["list"])
        elif options["merge"] is not None:
            self._take_back(options["merge"], options["by"])
        else:
            raise CommandError("Name a merge by its number, or a shopper with --list KEY.")

    def _tell(self, text: str) -> None:
        try:
            key = uuid.UUID(text)
        except ValueError:
            raise CommandError(f"{text!r} is no shopper's key.") from None
        merges = ShopperMerge.objects.select_related("visitor", "account").order_by("pk")
        for merge in merges.filter(Q(visitor__key=key) | Q(account__key=key)):
            moved = ", ".join(f"{len(keys)} {label.partition('.')[2]}" for label, keys in sorted(merge.moved.items()))
            undone = f", taken back {merge.undone_at:%Y-%m-%d %H:%M}" if merge.undone_at else ""
            self.stdout.write(
                f"{merge.pk}: {merge.visitor.key} into {merge.account.key}, {merge.at:%Y-%m-%d %H:%M} UTC "
                f"({merge.reason}{undone}): {moved or 'nothing'}"
            )

    def _take_back(self, merge_id: int, username: str) -> None:
        by = account(username, *PERMISSIONS)
        try:
            done = unmerge(merge_id, by=by)
        except PersonalizationError as error:
            raise CommandError(error.message) from error
        self.stdout.write(f"Merge {done.pk} is taken back: {done.visitor.key} stands on their own again.")
