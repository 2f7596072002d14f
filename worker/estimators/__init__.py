"""Estimators: one file a model family, all on one small contract (see ``base``)."""
