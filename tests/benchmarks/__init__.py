"""Measurements, each beside a peer: ``python -m tests.benchmarks.NAME [--quick] --json``; ``make bench`` runs all.

The peers are views and models' code and stand in the benchmarks' own files, so Django is set up before any of them
is imported. What is measured runs in a child process against a scratch database (see ``stage``).
"""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.benchmarks.settings")
django.setup()
