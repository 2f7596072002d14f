"""How Corner Books shows its books, purchases and readers to the personalisation app."""

from corner.models import Book, Purchase, Reader
from personalization.types import BasketLine, OrderData, ProductData, ProfileData


def cents(amount):
    """Money is an integer in minor units on the other side."""
    return int(amount * 100)


class Books:
    label = "corner.book"

    def products(self):
        yield from map(product, Book.objects.iterator())

    def get(self, item_ids):
        return {book.isbn: product(book) for book in Book.objects.filter(isbn__in=item_ids)}


class Purchases:
    label = "corner.purchase"

    def orders(self, since=None):
        purchases = Purchase.objects.order_by("bought_at").prefetch_related("books__book")
        if since is not None:
            purchases = purchases.filter(bought_at__gte=since)
        yield from map(order, purchases.iterator(chunk_size=500))


class Readers:
    def profile(self, user):
        return ProfileData(joined_at=user.member_since, attributes={"tier": "club" if user.club else "basic"})

    def profiles(self):
        for reader in Reader.objects.iterator():
            yield reader.pk, self.profile(reader)


def product(book):
    return ProductData(
        item_id=book.isbn,
        title=book.title,
        price_minor=cents(book.price),
        currency="EUR",
        category=book.shelf,
        stock=book.copies,
        url=book.get_absolute_url(),
    )


def order(purchase):
    return OrderData(
        order_id=purchase.reference,
        placed_at=purchase.bought_at,
        lines=tuple(
            BasketLine(row.book_id, row.copies, cents(row.price), row.book.shelf) for row in purchase.books.all()
        ),
        total_minor=cents(purchase.paid),
        discount_minor=cents(purchase.discount),
        currency="EUR",
        user_id=purchase.reader_id,
        guest_ref=purchase.email,
    )
