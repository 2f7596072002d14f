"""The shop's own nouns: what it sells, to whom, and what was ordered. Knows nothing of personalisation.

Money is an integer in minor units. What two shoppers could race for is held by a CHECK or UNIQUE constraint.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class Category(models.Model):
    """A shelf. Its slug is the category name that campaigns, events and features use."""

    name = models.CharField(_("name"), max_length=80)
    slug = models.SlugField(_("slug"), max_length=80, unique=True)

    class Meta:
        verbose_name = _("category")
        verbose_name_plural = _("categories")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("shop:category", args=[self.slug])


class Brand(models.Model):
    """Who makes a product."""

    name = models.CharField(_("name"), max_length=80, unique=True)

    class Meta:
        verbose_name = _("brand")
        verbose_name_plural = _("brands")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Product(models.Model):
    """Something on sale. Hidden products keep their orders but leave every page."""

    title = models.CharField(_("title"), max_length=200)
    slug = models.SlugField(_("slug"), max_length=200, unique=True)
    category = models.ForeignKey(
        Category, verbose_name=_("category"), on_delete=models.PROTECT, related_name="products"
    )
    brand = models.ForeignKey(
        Brand,
        verbose_name=_("brand"),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="products",
    )
    price_minor = models.BigIntegerField(_("price (minor units)"))
    cost_minor = models.BigIntegerField(_("cost (minor units)"), null=True, blank=True)
    stock = models.IntegerField(_("in stock"), default=0)
    visible = models.BooleanField(_("visible"), default=True)
    description = models.TextField(_("description"), blank=True)

    class Meta:
        verbose_name = _("product")
        verbose_name_plural = _("products")
        ordering = ["title"]
        constraints = [
            models.CheckConstraint(
                condition=Q(stock__gte=0),
                name="shop_product_stock",
                violation_error_message=_("The stock cannot be negative."),
            ),
            models.CheckConstraint(
                condition=Q(price_minor__gte=0) & (Q(cost_minor__isnull=True) | Q(cost_minor__gte=0)),
                name="shop_product_price",
                violation_error_message=_("Price and cost cannot be negative."),
            ),
        ]
        indexes = [models.Index(fields=["category", "visible", "price_minor"], name="shop_product_shelf")]

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("shop:product", args=[self.slug])


class CustomerProfile(models.Model):
    """What the shop knows of an account beyond its login."""

    class Tier(models.TextChoices):
        BASIC = "basic", _("Basic")
        SILVER = "silver", _("Silver")
        GOLD = "gold", _("Gold")

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, verbose_name=_("account"), on_delete=models.CASCADE, related_name="profile"
    )
    birth_date = models.DateField(_("date of birth"), null=True, blank=True)
    gender = models.CharField(_("gender"), max_length=20, blank=True)
    city = models.CharField(_("city"), max_length=80, blank=True)
    tier = models.CharField(_("loyalty tier"), max_length=10, choices=Tier.choices, default=Tier.BASIC)
    joined_at = models.DateTimeField(_("joined"), default=timezone.now)

    class Meta:
        verbose_name = _("customer profile")
        verbose_name_plural = _("customer profiles")

    def __str__(self) -> str:
        return str(self.user)


class Order(models.Model):
    """A finished checkout. ``checkout_token`` is UNIQUE: one form makes one order, however often sent."""

    class Status(models.TextChoices):
        PLACED = "placed", _("placed")
        CANCELLED = "cancelled", _("cancelled")

    number = models.CharField(_("number"), max_length=24, unique=True)
    checkout_token = models.UUIDField(_("checkout token"), null=True, blank=True, unique=True, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("account"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="orders",
    )
    email = models.EmailField(_("e-mail address"), blank=True)
    name = models.CharField(_("name"), max_length=120, blank=True)
    address = models.CharField(_("street and number"), max_length=200, blank=True)
    postcode = models.CharField(_("postcode"), max_length=20, blank=True)
    city = models.CharField(_("city"), max_length=80, blank=True)
    country = models.CharField(_("country"), max_length=80, blank=True)
    total_minor = models.BigIntegerField(_("total paid (minor units)"), default=0)
    discount_minor = models.BigIntegerField(_("discount (minor units)"), default=0)
    currency = models.CharField(_("currency"), max_length=3)
    status = models.CharField(_("status"), max_length=10, choices=Status.choices, default=Status.PLACED)
    placed_at = models.DateTimeField(_("placed"), default=timezone.now)
    reservation_id = models.UUIDField(_("coupon reservation"), null=True, blank=True, editable=False)

    class Meta:
        verbose_name = _("order")
        verbose_name_plural = _("orders")
        ordering = ["-placed_at"]
        constraints = [
            models.CheckConstraint(
                condition=Q(total_minor__gte=0) & Q(discount_minor__gte=0), name="shop_order_amounts"
            )
        ]
        indexes = [
            models.Index(fields=["placed_at"], name="shop_order_placed"),
            models.Index(fields=["user", "placed_at"], name="shop_order_user"),
        ]

    def __str__(self) -> str:
        return self.number

    def get_absolute_url(self) -> str:
        return reverse("shop:order", args=[self.number])

    @property
    def subtotal_minor(self) -> int:
        """What the products cost before discounts."""
        return self.total_minor + self.discount_minor


class OrderLine(models.Model):
    """One product of an order, at the price of that moment; ``discount_minor`` is for the whole line."""

    order = models.ForeignKey(Order, verbose_name=_("order"), on_delete=models.CASCADE, related_name="lines")
    product = models.ForeignKey(Product, verbose_name=_("product"), on_delete=models.PROTECT, related_name="+")
    title = models.CharField(_("title"), max_length=200)
    quantity = models.PositiveIntegerField(_("quantity"))
    unit_price_minor = models.BigIntegerField(_("unit price (minor units)"))
    discount_minor = models.BigIntegerField(_("discount (minor units)"), default=0)
    tax_rate = models.DecimalField(_("tax rate (percent)"), max_digits=5, decimal_places=2, default=0)
    tax_minor = models.BigIntegerField(
        _("tax (minor units)"), default=0, help_text=_("Its share of what is paid for the line.")
    )

    class Meta:
        verbose_name = _("order line")
        verbose_name_plural = _("order lines")
        constraints = [
            models.UniqueConstraint(fields=["order", "product"], name="shop_line_once"),
            models.CheckConstraint(condition=Q(quantity__gt=0), name="shop_line_quantity"),
            models.CheckConstraint(
                condition=Q(unit_price_minor__gte=0)
                & Q(discount_minor__gte=0)
                & Q(discount_minor__lte=F("quantity") * F("unit_price_minor")),
                name="shop_line_amounts",
            ),
            models.CheckConstraint(
                condition=Q(tax_rate__gte=0)
                & Q(tax_minor__gte=0)
                & Q(tax_minor__lte=F("quantity") * F("unit_price_minor") - F("discount_minor")),
                name="shop_line_tax",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.quantity} × {self.title}"

    @property
    def total_minor(self) -> int:
        """What the line costs before its discount."""
        return self.quantity * self.unit_price_minor

    @property
    def paid_minor(self) -> int:
        return self.total_minor - self.discount_minor


class SimulationInfo(models.Model):
    """Written by the simulation: while a row exists, every page says that the shop's data is made up.

    ``truth`` holds the parameters that generated the behaviour, so that estimates can be compared with them.
    """

    seed = models.BigIntegerField(_("seed"))
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    description = models.TextField(_("description"), blank=True)
    truth = models.JSONField(_("truth"), default=dict, blank=True)

    class Meta:
        verbose_name = _("simulation")
        verbose_name_plural = _("simulations")
        get_latest_by = "created_at"

    def __str__(self) -> str:
        return f"{_('simulation')} {self.seed}"
