"""Merges: who was found to be whom, and taking that back where it was a mistake."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from personalization.admin.base import ReadOnlyAdmin
from personalization.admin.display import badge
from personalization.exceptions import MergeGone
from personalization.models import ShopperMerge
from personalization.tracking.merging import unmerge


@admin.register(ShopperMerge)
class ShopperMergeAdmin(ReadOnlyAdmin):
    list_display = ("at", "visitor", "account", "reason", "state", "undone_at", "undone_by")
    list_select_related = ("visitor", "account", "undone_by")
    list_filter = ("reason", ("undone_at", admin.EmptyFieldListFilter))
    fields = ("visitor", "account", "at", "reason", "by", "state", "undone_at", "undone_by", "amounts")
    actions = ("take_back",)

    @admin.display(description=_("state"))
    def state(self, merge: ShopperMerge) -> Any:
        return badge(_("taken back"), "retired") if merge.undone_at else badge(_("merged"), "live")

    @admin.display(description=_("what was moved"))
    def amounts(self, merge: ShopperMerge) -> str:
        return ", ".join(f"{label.partition('.')[2]}: {len(keys)}" for label, keys in sorted(merge.moved.items()))

    def has_undo_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "undo_shoppermerge") and self.has_view_permission(request)

    @admin.action(description=_("Take back"), permissions=["undo"])
    def take_back(self, request: HttpRequest, queryset: QuerySet[ShopperMerge]) -> None:
        """Give back what the chosen merges moved; each stands or falls by itself."""
        done = 0
        for merge in queryset:
            try:
                unmerge(merge.pk, by=request.user)
            except MergeGone:
                continue
            self.log_change(request, merge, "taken back")
            done += 1
        if done < len(queryset):
            self.message_user(request, gettext("Some were taken back already."), messages.WARNING)
        if done:
            told = ngettext("%(count)s merge was taken back.", "%(count)s merges were taken back.", done)
            self.message_user(request, told % {"count": done}, messages.SUCCESS)
