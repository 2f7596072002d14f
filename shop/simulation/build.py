"""Writes a simulated past through the app's public door, stage by stage, and remembers how far it came.

A stage is either one transaction together with its mark, or made of rows with an identity of their own; so a build
that was interrupted goes on where it stopped and stores nothing twice. Marks and the truth live in ``SimulationInfo``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from django.db import transaction
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from personalization import api
from personalization.types import OfferKind
from shop.models import CustomerProfile, Order, Product, SimulationInfo
from shop.simulation import hostrows, truth
from shop.simulation.bulk import SLUGS, EventWriter, Keys, exposure_data, external_id, shopper_data
from shop.simulation.offers import WINDOW_HOURS, OfferSpec, storefront
from shop.simulation.words import CATEGORIES
from shop.simulation.world import DAYS, NEXT_WAVE, VERSION, World, simulate

CHUNK = 5_000
STOREFRONT_DAYS = 60
PAST = "past-"
"""Begins the ids of the past's events; a wave that is run later has a prefix of its own."""


class Progress(Protocol):
    """How a build shows where it is."""

    def stage(self, label: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Begin a stage of ``total`` steps; the function yielded takes the number of steps done."""


class NotASimulation(Exception):
    """The database holds a shop already, and no simulation made it."""


class OtherVersion(Exception):
    """The simulation in the database was drawn by another version of this code."""


@dataclass
class Simulation:
    """A simulation in the database: its row, and the world drawn again from its seed."""

    info: SimulationInfo
    world: World

    @property
    def start(self) -> datetime:
        """Return the moment at which the simulated past begins."""
        return datetime.fromisoformat(self.info.truth["start"])

    def done(self, stage: str) -> bool:
        """Return whether this stage was finished, now or in an earlier run."""
        return stage in self.info.truth["stages"]

    def mark(self, stage: str, **facts: Any) -> None:
        """Remember that a stage is finished, with what later stages need of it."""
        facts_so_far = {**self.info.truth, **facts}
        self.info.truth = {**facts_so_far, "stages": [*self.info.truth["stages"], stage]}
        self.info.save(update_fields=["truth"])

    def forget(self, stage: str) -> None:
        """Let a stage be done again."""
        self.info.truth["stages"] = [name for name in self.info.truth["stages"] if name != stage]
        self.info.save(update_fields=["truth"])


def existing() -> Simulation | None:
    """Return the simulation that this database holds, finished or not. Raises OtherVersion."""
    info = SimulationInfo.objects.order_by("pk").first()
    if info is None:
        return None
    if info.truth.get("version") != VERSION:
        raise OtherVersion
    return Simulation(info, simulate(info.seed, info.truth["scale"]))


def begin(seed: int, scale: str) -> Simulation:
    """Note down a new simulation; its past ends with yesterday. Raises NotASimulation over somebody's real shop."""
    if Product.objects.exists() or Order.objects.exists() or CustomerProfile.objects.exists():
        raise NotASimulation
    today = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    info = SimulationInfo.objects.create(
        seed=seed,
        truth={"version": VERSION, "scale": scale, "start": (today - timedelta(days=DAYS)).isoformat(), "stages": []},
    )
    return Simulation(info, simulate(seed, scale))


def build(simulation: Simulation, progress: Progress) -> None:
    """Write everything that is not there yet."""
    stages: tuple[tuple[str, Callable[[Simulation, Progress], None]], ...] = (
        ("products", _products),
        ("catalogue", _catalogue),
        ("accounts", _accounts),
        ("waves", _waves),
        ("orders", _orders),
        ("events", _events),
        ("exposures", _exposures),
        ("storefront", _storefront),
        ("next_wave", _next_wave),
        ("truth", _truth),
    )
    for name, write in stages:
        if not simulation.done(name):
            write(simulation, progress)


def is_complete(simulation: Simulation) -> bool:
    """Return whether the past and the campaigns are all there."""
    return simulation.done("truth")


def keys(simulation: Simulation) -> Keys:
    """Return what products, shoppers and past offers are called in the database; stores missing shoppers."""
    people = simulation.world.people
    ids = api.upsert_shoppers(shopper_data(people, hostrows.user_ids(people), simulation.start))
    return Keys(
        start=simulation.start,
        products=hostrows.product_ids(simulation.world.catalogue),
        shoppers=[ids[external_id(n)] for n in range(len(people))],
        offers=[offer for wave in simulation.info.truth["waves"] for offer in wave["offers"]],
    )


def past_offers(world: World) -> tuple[OfferSpec, ...]:
    """Return the offers of all past waves, in the order of their numbers."""
    return tuple(offer for wave in world.waves for offer in wave.offers)


def _products(simulation: Simulation, progress: Progress) -> None:
    with progress.stage(_("Products"), 1) as advance, transaction.atomic():
        hostrows.make_products(simulation.world.catalogue)
        simulation.mark("products")
        advance(1)


def _catalogue(simulation: Simulation, progress: Progress) -> None:
    """Let the app copy the catalogue through the shop's adapter."""
    with progress.stage(_("Catalogue, copied by the app"), 1) as advance:
        api.sync_catalog()
        simulation.mark("catalogue")
        advance(1)


def _accounts(simulation: Simulation, progress: Progress) -> None:
    with progress.stage(_("Accounts"), 1) as advance, transaction.atomic():
        hostrows.make_accounts(simulation.world.people, simulation.start, timezone.now().date())
        simulation.mark("accounts")
        advance(1)


def _waves(simulation: Simulation, progress: Progress) -> None:
    """Make the past campaigns: one a wave, sent, and over."""
    world = simulation.world
    made: list[dict[str, Any]] = []
    with progress.stage(_("Past campaigns"), len(world.waves)) as advance, transaction.atomic():
        for wave in world.waves:
            starts_at = simulation.start + timedelta(seconds=wave.start)
            made.append(
                create_sent(
                    _("Simulated wave %(number)d") % {"number": wave.number + 1},
                    wave.offers,
                    starts_at,
                    status="ended",
                )
            )
            advance(1)
        simulation.mark("waves", waves=made)


def create_sent(name: str, offers: Sequence[OfferSpec], starts_at: datetime, *, status: str) -> dict[str, Any]:
    """Create a campaign that is sent to its whole audience; returns its key and its offers', in order."""
    campaign = api.create_campaign(
        name=name,
        goal=_("Learn who responds to what"),
        delivery="sent",
        starts_at=starts_at,
        ends_at=starts_at + timedelta(days=7),
        attribution_hours=WINDOW_HOURS,
        status=status,
        offers=[offer_fields(offer, starts_at) for offer in offers],
    )
    return {
        "campaign": campaign.pk,
        "offers": list(campaign.offers.order_by("pk").values_list("pk", flat=True)),
    }


def offer_fields(offer: OfferSpec, starts_at: datetime, slots: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return all fields of an ``Offer``, dates and links included."""
    fields = {
        **offer.fields(SLUGS),
        "slots": list(slots),
        # What has to be claimed gets the app's own "Get the coupon".
        "cta_label": _("Shop now") if offer.kind == OfferKind.ANNOUNCEMENT else "",
        "attributes": {"simulated": True},
    }
    if offer.category >= 0:
        fields["cta_url"] = reverse("shop:category", args=[CATEGORIES[offer.category].slug])
    else:
        fields["cta_url"] = reverse("shop:home")
    if offer.kind == OfferKind.FLASH_SALE:
        fields["ends_at"] = starts_at + timedelta(hours=offer.flash_hours)
    return fields


def _orders(simulation: Simulation, progress: Progress) -> None:
    world = simulation.world
    with progress.stage(_("Orders of the last two weeks"), 1) as advance, transaction.atomic():
        users = hostrows.user_ids(world.people)
        products = hostrows.product_ids(world.catalogue)
        hostrows.make_orders(world, simulation.start, products, users, past_offers(world))
        simulation.mark("orders")
        advance(1)


def _events(simulation: Simulation, progress: Progress) -> None:
    """Store shoppers and their events; what an interrupted run has stored is skipped by its identity."""
    world = simulation.world
    size = len(world.events["time"])
    writer = EventWriter(world, world.orders, keys(simulation), PAST, shop_orders=True)
    with progress.stage(_("Events"), size) as advance:
        for begin_at in range(0, size, CHUNK):
            api.store_events(writer.events(world.events, begin_at, begin_at + CHUNK))
            advance(min(CHUNK, size - begin_at))
        api.store_events(writer.orders_without_consent())
    simulation.mark("events")


def _exposures(simulation: Simulation, progress: Progress) -> None:
    world = simulation.world
    called = keys(simulation)
    with progress.stage(_("Exposures"), sum(len(wave.exposures) for wave in world.waves)) as advance:
        for wave, row in zip(world.waves, simulation.info.truth["waves"], strict=True):
            rows = exposure_data(
                wave.exposures,
                called,
                campaign=row["campaign"],
                first_offer=wave.first_offer,
                name=f"{PAST}{wave.number}",
            )
            api.record_exposures(rows)
            advance(len(rows))
    simulation.mark("exposures")


def _storefront(simulation: Simulation, progress: Progress) -> None:
    """Launch the campaigns that the shop's pages show."""
    starts_at = timezone.now() - timedelta(hours=1)
    plans = storefront()
    with progress.stage(_("Running campaigns"), len(plans)) as advance, transaction.atomic():
        for plan in plans:
            campaign = api.create_campaign(
                name=plan.name,
                goal=plan.goal,
                delivery="on_page",
                starts_at=starts_at,
                ends_at=starts_at + timedelta(days=STOREFRONT_DAYS),
                budget_minor=plan.budget_minor,
                offers=[offer_fields(offer, starts_at, plan.slots) for offer in plan.offers],
            )
            api.launch(campaign)
            advance(1)
        simulation.mark("storefront")


def _next_wave(simulation: Simulation, progress: Progress) -> None:
    """Draft the campaign that the forecast is about: sent tomorrow morning."""
    tomorrow = simulation.start + timedelta(seconds=NEXT_WAVE)
    with progress.stage(_("The next wave, as a draft"), 1) as advance, transaction.atomic():
        made = create_sent(_("Next wave"), simulation.world.next_offers, tomorrow, status="draft")
        simulation.mark("next_wave", next_wave=made)
        advance(1)


def _truth(simulation: Simulation, progress: Progress) -> None:
    """Keep what only the simulator knows, and say on every page that this shop is simulated."""
    world = simulation.world
    with progress.stage(_("True effects"), 1) as advance, transaction.atomic():
        simulation.info.description = _(
            "A simulated shop: %(shoppers)s shoppers, %(products)s products, %(events)s events, %(waves)s waves of "
            "offers. Nobody in it exists, and every figure comes from a simulation with known true effects."
        ) % {
            "shoppers": f"{len(world.people):,}",
            "products": f"{len(world.catalogue):,}",
            "events": f"{len(world.events['time']):,}",
            "waves": len(world.waves),
        }
        simulation.info.save(update_fields=["description"])
        expected = truth.expected_outcomes(world, world.next_offers)
        simulation.mark(
            "truth",
            effects=truth.summary(world),
            expected={metric: asdict(figure) for metric, figure in expected.items()},
        )
        advance(1)
