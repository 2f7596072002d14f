"""``manage.py judge_bots``: judge sessions again by the rules that are in force now."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import CommandParser
from django.db.models import Count
from django.utils import timezone

from personalization.management.arguments import AppCommand, at_least_one
from personalization.models import SessionVerdict
from personalization.tracking import judging


class Command(AppCommand):
    help = "Judges sessions of the last days again by the bot rules in force: after thresholds changed, say."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=at_least_one, default=1, help="how far back (1)")
        parser.add_argument("--anew", action="store_true", help="judge what staff decided, too")

    def handle(self, *args: Any, **options: Any) -> None:
        now = timezone.now()
        since = now - timedelta(days=options["days"])
        judged = SessionVerdict.objects.filter(last_at__gte=since).values_list("shopper", flat=True)
        people = sorted({*judging.suspects(since, now), *judged})
        changed = sum(judging.judge(shopper, since=since, anew=options["anew"]) for shopper in people)
        self.stdout.write(f"{len(people):,} shoppers judged, {changed:,} sessions changed.")
        bots = SessionVerdict.objects.filter(is_bot=True, last_at__gte=since).order_by("rule").values("rule")
        for row in bots.annotate(amount=Count("pk")):
            self.stdout.write(f"  {row['rule'] or 'by staff'}: {row['amount']:,} sessions flagged")
