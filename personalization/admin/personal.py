"""Pages on which personal data can be shown: hidden from everybody, until somebody who may says why.

Showing is a POST with a reason, leaves a line in the audit log, and lasts for the page that answers it.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Generic, TypeVar

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import path, reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from personalization.admin.base import ReadOnlyAdmin
from personalization.admin.display import change_url
from personalization.models import AuditEntry, Shopper
from personalization.tracking import audit

PERMISSION = "view_personal_data"
_SHOWN = "_pz_shown"
Row = TypeVar("Row", bound=Any)


class WhyForm(forms.Form):
    """Why personal data is shown. Both answers go into the audit log: neither has room for a name."""

    why = forms.ChoiceField(label=_("Reason"), choices=AuditEntry.Why.choices)
    reference = forms.CharField(
        label=_("Ticket or letter"),
        max_length=40,
        widget=forms.TextInput(attrs={"autocomplete": "off", "size": 16}),
        validators=AuditEntry._meta.get_field("reference").validators,
    )

    def answers(self) -> dict[str, str]:
        """Return what the audit log keeps of a valid form."""
        return {"why": self.cleaned_data["why"], "reference": self.cleaned_data["reference"]}


def new_form() -> WhyForm:
    """Return an empty form whose fields have ids that no other form of the page has."""
    return WhyForm(auto_id="pz-why-%s")


def may_show(request: HttpRequest) -> bool:
    """Return whether the user may have personal data shown at all."""
    return bool(request.user.has_perm(f"personalization.{PERMISSION}"))


def is_shown(row: Any) -> bool:
    """Return whether this row's personal data was asked for by this request."""
    return bool(getattr(row, _SHOWN, False))


def why_not(form: WhyForm) -> str:
    """Return what is wrong with the reason, as a sentence."""
    wrong = [str(each) for errors in form.errors.values() for each in errors]
    return gettext("Say why, and for which ticket: it is logged.") + " " + " ".join(wrong)


class PersonalAdmin(ReadOnlyAdmin, Generic[Row]):
    """A page over facts with personal data in them. Its columns ask :func:`is_shown` before they tell any."""

    change_form_template = "admin/personalization/personal_form.html"
    unmask_methods: ClassVar[tuple[str, ...]] = ("POST",)

    @abstractmethod
    def person(self, row: Row) -> Shopper | None:
        """Return whom the row is about: the audit log names them by their pseudonym."""

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.unmask)
        name = f"{self.opts.app_label}_{self.opts.model_name}_unmask"
        return [path("<path:object_id>/unmask/", view, name=name), *super().get_urls()]

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        row = super().get_object(request, object_id, from_field)
        if row is not None:
            setattr(row, _SHOWN, getattr(request, _SHOWN, False))
        return row

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        row = kwargs.get("obj")
        if row is not None and may_show(request):
            context["why_form"] = new_form()
            name = f"admin:{self.opts.app_label}_{self.opts.model_name}_unmask"
            context["unmask_url"] = reverse(name, args=[row.pk], current_app=self.admin_site.name)
            context["is_shown"] = is_shown(row)
        return super().render_change_form(request, context, *args, **kwargs)

    def unmask(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show a row's personal data on the page that answers this POST, and write down who looked at it, and why."""
        if not self.has_view_permission(request) or not may_show(request):
            raise PermissionDenied
        if request.method not in self.unmask_methods:
            return HttpResponseNotAllowed(self.unmask_methods)
        row = self.get_object(request, object_id)
        if row is None:
            return self.gone(request, object_id)
        form = WhyForm(request.POST)
        if not form.is_valid():
            self.message_user(request, why_not(form), messages.WARNING)
            return HttpResponseRedirect(change_url(row, row.pk))
        with transaction.atomic():
            note_shown(request, row, self.person(row), form)
        setattr(request, _SHOWN, True)
        request.method = "GET"  # the page as it is read: to the admin a POST is a change
        response: HttpResponse = self.changeform_view(request, object_id)  # never cached, as all of the admin
        return response


def note_shown(request: HttpRequest, row: Any, person: Shopper | None, form: WhyForm) -> None:
    """Write down that this row's personal data was shown."""
    audit.note(
        audit.Action.VIEWED,
        by=request.user,
        kind=str(row._meta.model_name),
        subject="" if person is None else audit.pseudonym(person),
        key=str(row.pk) if not isinstance(row, Shopper) else "",
        **form.answers(),
    )
