"""Device, precision and seeds: a GPU where there is one, the CPU otherwise, the same results for the same seed."""

from __future__ import annotations

import os
import random
from typing import Any, Literal, get_args

import numpy as np
import torch

Precision = Literal["float32", "bfloat16"]


def pick() -> torch.device:
    """Return the device to train on: ``PERSONALIZATION_DEVICE`` if set, else the first GPU, else the CPU.

    On one or two cores torch gets a single thread: a second one mostly waits for the database and the web server.
    """
    if cores() <= 2:
        torch.set_num_threads(1)
    wanted = os.environ.get("PERSONALIZATION_DEVICE")
    if wanted:
        return torch.device(wanted)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def precision(device: torch.device) -> Precision:
    """Return in what networks multiply while they train: ``PERSONALIZATION_PRECISION``, or what ``auto`` means there.

    ``auto`` is bfloat16 on a GPU that computes in it and float32 elsewhere; ValueError for any other word.
    """
    wanted = os.environ.get("PERSONALIZATION_PRECISION") or "auto"
    if wanted == "auto":
        return "bfloat16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "float32"
    for known in get_args(Precision):
        if wanted == known:
            return known
    raise ValueError(f"PERSONALIZATION_PRECISION is {wanted!r} and must be auto, {' or '.join(get_args(Precision))}.")


def autocast(device: torch.device) -> torch.autocast:
    """Return the context for a training step's forward pass: products of matrices in the device's precision.

    Weights, their updates, losses and everything that is served stay in float32; so does what is computed outside of
    it, scoring included.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=precision(device) == "bfloat16")


def deterministic() -> bool:
    """Return whether ``PERSONALIZATION_DETERMINISTIC`` is on: runs equal bit by bit; ValueError if it is neither."""
    wanted = os.environ.get("PERSONALIZATION_DETERMINISTIC", "")
    if wanted not in {"", "0", "1"}:
        raise ValueError(f"PERSONALIZATION_DETERMINISTIC is {wanted!r} and must be 1 or 0.")
    return wanted == "1"


def seed_all(seed: int) -> torch.Generator:
    """Seed every generator in use and return torch's own for shuffling.

    In deterministic mode torch takes its reproducible kernels from here on, some of them slower, and refuses an
    operation that has none (RuntimeError, which names it).
    """
    exact = deterministic()
    if exact:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the process first multiplies on a GPU
    torch.use_deterministic_algorithms(exact)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    generator = torch.Generator()
    generator.manual_seed(seed)
    return generator


def describe(device: torch.device) -> dict[str, Any]:
    """Return what a training runs on, for the model card, which words it."""
    gpu = device.type == "cuda"
    runs_on = {"gpu": torch.cuda.get_device_name(device)} if gpu else {"threads": torch.get_num_threads()}
    return {**runs_on, "precision": precision(device), "deterministic": deterministic()}
