"""What staff may give away as goodwill, month by month. Rows come with the first gift; only a limit can be changed."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.formats import date_format
from django.utils.translation import gettext_lazy as _

from personalization.admin.base import ReadOnlyAdmin
from personalization.admin.display import budget_bar, money
from personalization.admin.fields import MoneyField
from personalization.admin.forms import MoneyForm
from personalization.models import Allowance


class AllowanceForm(MoneyForm):
    """The month's limit; what is given already stays within it."""

    limit_minor = MoneyField(
        label=_("Limit"), help_text=_("Only this month's. Later months begin with the limit from the settings.")
    )

    class Meta:
        model = Allowance
        fields = ("limit_minor",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.set_currency(self.instance.currency)

    def clean_limit_minor(self) -> int:
        limit: int | None = self.cleaned_data["limit_minor"]
        if limit is None:
            raise ValidationError(_("Give an amount; 0 stops further goodwill where none is given yet."))
        if limit < self.instance.granted_minor:
            given = money(self.instance.granted_minor, self.instance.currency)
            raise ValidationError(_("%(given)s is given already."), params={"given": given})
        return limit


@admin.register(Allowance)
class AllowanceAdmin(ReadOnlyAdmin):
    """Who gave how much in which month. Whoever may change allowances sets a limit, though never their own."""

    form = AllowanceForm
    list_display = ("month_name", "user", "bar", "limit")
    list_display_links = ("month_name", "user")
    list_filter = ("month", "currency")
    list_select_related = ("user",)
    ordering = ("-month", "user")
    raced = _("Nothing is saved: meanwhile more than this has been given. Check it again.")
    fields = ("user", "month_name", "bar", "limit_minor")
    readonly_fields = ("user", "month_name", "bar", "limit")

    def get_search_fields(self, request: HttpRequest) -> tuple[str, ...]:
        return (f"user__{get_user_model().USERNAME_FIELD}",)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        own = obj is not None and obj.user_id == request.user.pk and not request.user.is_superuser
        return not own and self.may(request, "change_allowance")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return self.fields if self.has_change_permission(request, obj) else (*self.fields[:-1], "limit")

    def save_model(self, request: HttpRequest, obj: Allowance, form: Any, change: bool) -> None:
        """Write the limit and nothing else: a gift may move the rest at this moment."""
        obj.save(update_fields=["limit_minor"])

    @admin.display(description=_("month"), ordering="month")
    def month_name(self, allowance: Allowance) -> str:
        return str(date_format(allowance.month, "YEAR_MONTH_FORMAT"))

    @admin.display(description=_("given"), ordering="granted_minor")
    def bar(self, allowance: Allowance) -> Any:
        return budget_bar(
            spent=allowance.granted_minor, reserved=0, budget=allowance.limit_minor, currency=allowance.currency
        )

    @admin.display(description=_("limit"), ordering="limit_minor")
    def limit(self, allowance: Allowance) -> str:
        return money(allowance.limit_minor, allowance.currency)
