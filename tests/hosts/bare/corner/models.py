"""What Corner Books sells, to whom. Unlike the demo shop: text and UUID keys, Decimal prices."""

import uuid
from decimal import Decimal

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models


class ReaderManager(BaseUserManager):
    def create_user(self, email, password=None, **fields):
        reader = self.model(email=self.normalize_email(email), **fields)
        reader.set_password(password)
        reader.save()
        return reader

    def create_superuser(self, email, password=None):
        return self.create_user(email, password, is_staff=True, is_superuser=True)


class Reader(AbstractBaseUser, PermissionsMixin):
    """An account. Its key is a UUID, and it has neither a username nor ``is_active`` as a column."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    email = models.EmailField(unique=True)
    is_staff = models.BooleanField(default=False)
    member_since = models.DateTimeField(auto_now_add=True)
    club = models.BooleanField(default=False)

    objects = ReaderManager()
    USERNAME_FIELD = "email"

    def __str__(self):
        return self.email


class Book(models.Model):
    """A book, known by its ISBN."""

    isbn = models.CharField(primary_key=True, max_length=13)
    title = models.CharField(max_length=200)
    shelf = models.CharField(max_length=60)
    price = models.DecimalField(max_digits=8, decimal_places=2)
    copies = models.PositiveIntegerField(default=0)

    def __str__(self):
        return self.title

    def get_absolute_url(self):
        return f"/books/{self.isbn}/"


class Purchase(models.Model):
    """An order. A reader's, or a guest's by e-mail address."""

    reference = models.CharField(primary_key=True, max_length=20)
    reader = models.ForeignKey(Reader, null=True, blank=True, on_delete=models.SET_NULL)
    email = models.EmailField(blank=True)
    discount = models.DecimalField(max_digits=8, decimal_places=2, default=Decimal(0))
    paid = models.DecimalField(max_digits=8, decimal_places=2, default=Decimal(0))
    bought_at = models.DateTimeField()

    def __str__(self):
        return self.reference


class PurchasedBook(models.Model):
    """One line of a purchase."""

    purchase = models.ForeignKey(Purchase, on_delete=models.CASCADE, related_name="books")
    book = models.ForeignKey(Book, on_delete=models.PROTECT)
    copies = models.PositiveIntegerField()
    price = models.DecimalField(max_digits=8, decimal_places=2)

    def __str__(self):
        return f"{self.copies} × {self.book_id}"
