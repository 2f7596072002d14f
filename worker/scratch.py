"""Folders for what processes hand to one another: readable by their owner only, and gone with whoever made them.

A folder holds shoppers' histories, so it may not outlive a process that was killed. Whoever makes one holds a lock on
it, which the system takes back however that process ends; a folder that nobody holds is removed as soon as another
folder is made, or another job begins. A lock, other than a process's number, is never somebody else's by now, and is
told apart across containers which share a disk. Needs no Django.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "personalization-scratch-"


@contextmanager
def folder() -> Iterator[Path]:
    """Yield a new empty folder with mode 0700 in the system's temporary one; it is removed at the end."""
    sweep()
    path, held = _made()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(held)


def sweep() -> int:
    """Remove the folders of this user whose processes are gone; returns how many. What cannot be removed stays."""
    return sum(_removed(path) for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"))


def _made() -> tuple[Path, int]:
    """Return a folder and the descriptor that holds its lock."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX))
        try:
            held = _opened(path)
        except FileNotFoundError:  # swept before it was held
            continue
        fcntl.flock(held, fcntl.LOCK_EX)
        if path.exists():
            return path, held
        os.close(held)


def _removed(path: Path) -> bool:
    try:
        held = _opened(path)
    except OSError:  # gone meanwhile, no folder, or another user's
        return False
    try:
        if os.fstat(held).st_uid != os.geteuid():
            return False
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path)
    except OSError:  # its process lives, or it cannot be removed
        return False
    finally:
        os.close(held)
    return True


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
