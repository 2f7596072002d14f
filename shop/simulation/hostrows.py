"""The simulated shop's own rows: shelves, products, accounts and the orders of the last two weeks.

Every function is one transaction's work and keyed by what is unique in the shop (slug, user name, order number), so
that a build that was interrupted finds what it made before.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta

import numpy as np
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.utils.text import slugify

from shop.models import Brand, Category, CustomerProfile, Order, OrderLine, Product
from shop.money import currency
from shop.simulation.catalogue import Catalogue, Ints
from shop.simulation.log import Orders
from shop.simulation.offers import OfferSpec
from shop.simulation.people import DAY, People
from shop.simulation.words import CATEGORIES, CITIES, COUNTRIES, GENDERS, TIERS
from shop.simulation.world import World

BATCH = 500
ORDER_ROWS_DAYS = 14


def make_products(catalogue: Catalogue) -> None:
    """Create categories, brands and products."""
    categories = Category.objects.bulk_create(Category(name=words.name, slug=words.slug) for words in CATEGORIES)
    brands = Brand.objects.bulk_create(Brand(name=name) for name in catalogue.brands)
    Product.objects.bulk_create(
        (
            Product(
                title=title,
                slug=slugify(title),
                category=categories[catalogue.category[n]],
                brand=brands[catalogue.brand[n]],
                price_minor=int(catalogue.price[n]),
                cost_minor=int(catalogue.cost[n]),
                stock=int(catalogue.stock[n]),
                description=_description(catalogue, n),
            )
            for n, title in enumerate(catalogue.titles)
        ),
        batch_size=BATCH,
    )


def _description(catalogue: Catalogue, n: int) -> str:
    brand = catalogue.brands[catalogue.brand[n]]
    shelf = CATEGORIES[catalogue.category[n]].name
    return f"{catalogue.searches[n].capitalize()} by {brand}, from our {shelf} shelf. A product of the simulation."


def product_ids(catalogue: Catalogue) -> list[str]:
    """Return the products' keys as the shop's catalogue adapter writes them, by product number."""
    keys = dict(Product.objects.values_list("slug", "pk"))
    return [str(keys[slugify(title)]) for title in catalogue.titles]


def user_name(people: People, n: int) -> str:
    """Return the account's user name: its e-mail address, as for every account of the shop."""
    return f"{slugify(people.first_name[n])}.{slugify(people.last_name[n])}.{n}@example.com"


def make_accounts(people: People, start: datetime, today: date) -> None:
    """Create accounts without a usable password, and their profiles; visitors have none."""
    locked = make_password(None)
    numbers: list[int] = np.flatnonzero(~people.visitor).tolist()
    joined = [start + timedelta(seconds=int(people.joined[n])) for n in numbers]
    users = User.objects.bulk_create(
        (
            User(
                username=user_name(people, n),
                email=user_name(people, n),
                first_name=people.first_name[n],
                last_name=people.last_name[n],
                password=locked,
                date_joined=moment,
            )
            for n, moment in zip(numbers, joined, strict=True)
        ),
        batch_size=BATCH,
    )
    CustomerProfile.objects.bulk_create(
        (
            CustomerProfile(
                user=user,
                birth_date=_birth_date(today, int(people.age[n]), n),
                gender=GENDERS[people.gender[n]],
                city=CITIES[people.city[n]],
                tier=TIERS[people.tier[n]],
                joined_at=moment,
            )
            for user, n, moment in zip(users, numbers, joined, strict=True)
        ),
        batch_size=BATCH,
    )


def _birth_date(today: date, age: int, n: int) -> date:
    """Return a date of birth that makes this age today; the day of the year is spread over the shoppers."""
    return date(today.year - age, today.month, 1) - timedelta(days=n * 37 % 330)


def user_ids(people: People) -> list[int | None]:
    """Return the accounts' keys by shopper number; None for visitors."""
    keys = dict(User.objects.filter(username__endswith="@example.com").values_list("username", "pk"))
    return [None if people.visitor[n] else keys[user_name(people, n)] for n in range(len(people))]


def order_number(start: datetime, orders: Orders, n: int) -> str:
    """Return an order's number; ``S`` marks it as the simulation's."""
    return f"{start + timedelta(seconds=int(orders.time[n])):%y%m%d}-S{n:06d}"


def with_order_row(world: World) -> np.ndarray:
    """Return which orders have a row in the shop: those of accounts, of the last two weeks."""
    return (world.orders.time >= world.seconds - ORDER_ROWS_DAYS * DAY) & ~world.people.visitor[world.orders.who]


def make_orders(
    world: World,
    start: datetime,
    product_keys: list[str],
    users: list[int | None],
    offers: tuple[OfferSpec, ...],
) -> None:
    """Create order rows with their lines; ``offers`` are those of all waves, in order."""
    numbers: list[int] = np.flatnonzero(with_order_row(world)).tolist()
    orders, people, catalogue = world.orders, world.people, world.catalogue
    rows = Order.objects.bulk_create(
        (
            Order(
                number=order_number(start, orders, n),
                user_id=users[who],
                email=user_name(people, who),
                name=f"{people.first_name[who]} {people.last_name[who]}",
                address=f"{who % 180 + 1} Mill Lane",
                postcode=f"{10_000 + who * 7 % 80_000}",
                city=CITIES[people.city[who]],
                country=COUNTRIES[people.city[who]],
                total_minor=int(orders.gross[n] - orders.discount[n]),
                discount_minor=int(orders.discount[n]),
                currency=currency(),
                placed_at=start + timedelta(seconds=int(orders.time[n])),
            )
            for n in numbers
            for who in [int(orders.who[n])]
        ),
        batch_size=BATCH,
    )
    OrderLine.objects.bulk_create(
        (
            OrderLine(
                order=row,
                product_id=int(product_keys[item]),
                title=catalogue.titles[item],
                quantity=int(orders.quantities[n, line]),
                unit_price_minor=int(catalogue.price[item]),
                discount_minor=int(share),
            )
            for row, n in zip(rows, numbers, strict=True)
            for line, (item, share) in enumerate(zip(orders.items[n], line_discounts(world, offers, n), strict=True))
            if item >= 0
        ),
        batch_size=BATCH,
    )


def line_discounts(world: World, offers: tuple[OfferSpec, ...], n: int) -> Ints:
    """Share an order's discount among the lines that its offer covers, to the last cent."""
    orders = world.orders
    items = orders.items[n]
    price = np.where(items >= 0, world.catalogue.price[items], 0) * orders.quantities[n]
    category = offers[orders.offer[n]].category if orders.offer[n] >= 0 else -1
    covered = price * ((category < 0) | (world.catalogue.category[items] == category))
    reached = orders.discount[n] * np.cumsum(covered) // max(int(covered.sum()), 1)
    return np.diff(reached, prepend=0)
