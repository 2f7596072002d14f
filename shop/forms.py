"""What people type, checked: quantities, searches, addresses, registrations."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth import get_user_model, password_validation
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils.translation import gettext_lazy as _

from personalization.types import CONSENT_PURPOSES, Purpose
from shop.basket import MAX_QUANTITY
from shop.models import CustomerProfile

_QUANTITY_ERRORS = {
    "required": _("Please enter a quantity."),
    "invalid": _("Please enter a whole number as the quantity."),
    "min_value": _("The quantity cannot be negative."),
    "max_value": _("You can order at most %(limit_value)s pieces of one product."),
}


class QuantityForm(forms.Form):
    """How many pieces; 0 takes the product out of the basket."""

    quantity = forms.IntegerField(min_value=0, max_value=MAX_QUANTITY, error_messages=_QUANTITY_ERRORS)

    def problem(self) -> str:
        """Return the first thing that is wrong with the quantity."""
        return str(self.errors["quantity"][0])


class SearchForm(forms.Form):
    q = forms.CharField(max_length=100, required=False, strip=True)


class CouponForm(forms.Form):
    """Either a code that was typed, or the id of one of the shopper's own coupons."""

    code = forms.CharField(max_length=64, required=False, strip=True)
    coupon = forms.UUIDField(required=False)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if not cleaned.get("code") and not cleaned.get("coupon"):
            raise forms.ValidationError(_("Please enter a code."))
        return cleaned


class CheckoutForm(forms.Form):
    """Where the order goes."""

    name = forms.CharField(label=_("Full name"), max_length=120, widget=forms.TextInput(attrs={"autocomplete": "name"}))
    email = forms.EmailField(label=_("E-mail address"), widget=forms.EmailInput(attrs={"autocomplete": "email"}))
    address = forms.CharField(
        label=_("Street and number"),
        max_length=200,
        widget=forms.TextInput(attrs={"autocomplete": "street-address"}),
    )
    postcode = forms.CharField(
        label=_("Postcode"), max_length=20, widget=forms.TextInput(attrs={"autocomplete": "postal-code"})
    )
    city = forms.CharField(
        label=_("City"), max_length=80, widget=forms.TextInput(attrs={"autocomplete": "address-level2"})
    )
    country = forms.CharField(
        label=_("Country"), max_length=80, widget=forms.TextInput(attrs={"autocomplete": "country-name"})
    )


class LoginForm(AuthenticationForm):
    """Django's own, under the name by which our accounts are known."""

    error_messages = {
        "invalid_login": _("This e-mail address and password do not match an account."),
        "inactive": _("This account is closed."),
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["username"].label = _("E-mail address or user name")

    def clean_username(self) -> str:
        """Accounts are registered under the address in small letters."""
        username: str = self.cleaned_data["username"]
        return username.lower() if "@" in username else username


class RegistrationForm(forms.Form):
    """A new account: the e-mail address is its user name."""

    name = forms.CharField(label=_("Full name"), max_length=120, widget=forms.TextInput(attrs={"autocomplete": "name"}))
    email = forms.EmailField(
        label=_("E-mail address"), max_length=150, widget=forms.EmailInput(attrs={"autocomplete": "email"})
    )
    password = forms.CharField(
        label=_("Password"),
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=_("At least 8 characters, not only digits, and nothing too common."),
    )

    def clean_email(self) -> str:
        email: str = self.cleaned_data["email"].lower()
        if get_user_model()._default_manager.filter(username=email).exists():
            raise forms.ValidationError(_("There is already an account with this address. Please sign in."))
        return email

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("password"):
            try:
                password_validation.validate_password(
                    cleaned["password"],
                    User(username=cleaned.get("email", ""), first_name=cleaned.get("name", "")),
                )
            except forms.ValidationError as error:
                self.add_error("password", error)
        return cleaned

    def save(self) -> User | None:
        """Make the account and its profile; None if somebody registered the address in the meantime."""
        first, _space, last = self.cleaned_data["name"].partition(" ")
        email = self.cleaned_data["email"]
        try:
            with transaction.atomic():
                user = User.objects.create_user(
                    email, email, self.cleaned_data["password"], first_name=first[:150], last_name=last[:150]
                )
                CustomerProfile.objects.create(user=user)
        except IntegrityError:
            self.add_error("email", _("There is already an account with this address. Please sign in."))
            return None
        return user


class ShownForm(forms.Form):
    """The amounts that the checkout page showed. Never trusted, only compared with what is true now."""

    total_minor = forms.IntegerField(min_value=0)
    discount_minor = forms.IntegerField(min_value=0)
    quote = forms.CharField(required=False, max_length=50_000)


class EraseForm(forms.Form):
    """Erasing cannot be undone: it takes a tick."""

    sure = forms.BooleanField(label=_("Yes, erase what is stored about me. This cannot be undone."))


class ConsentForm(forms.Form):
    """What the visitor agrees to, one tick a purpose."""

    purposes = forms.MultipleChoiceField(
        required=False, choices=[(purpose.value, purpose.value) for purpose in CONSENT_PURPOSES]
    )

    def agreed(self) -> frozenset[Purpose]:
        """Return the ticked purposes."""
        return frozenset(Purpose(value) for value in self.cleaned_data["purposes"])
