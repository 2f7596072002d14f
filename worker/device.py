"""Device, precision and seeds: a GPU where there is one, the CPU otherwise, the same results for the same seed."""

from __future__ import annotations

import os
import random

import numpy as np
import torch


def pick() -> torch.device:
    """Return the device to train on: ``PERSONALIZATION_DEVICE`` if set, else the first GPU, else the CPU.

    On one or two cores torch gets a single thread: a second one mostly waits for the database and the web server.
    """
    if (os.cpu_count() or 1) <= 2:
        torch.set_num_threads(1)
    wanted = os.environ.get("PERSONALIZATION_DEVICE")
    if wanted:
        return torch.device(wanted)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def seed_all(seed: int) -> torch.Generator:
    """Seed every generator in use and return torch's own for shuffling."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    generator = torch.Generator()
    generator.manual_seed(seed)
    return generator


def describe(device: torch.device) -> str:
    """Return the device in words, for the model card."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({torch.get_num_threads()} threads)"
