"""The worker: trains, judges and scores. The only package that imports torch."""
