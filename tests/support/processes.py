"""What the kernel tells of running processes: whose children they are, and where they listen (Linux's /proc)."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path

PROC = Path("/proc")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_LISTENS = "0A"


def runs(process: int) -> bool:
    """Return whether the process is there and no zombie."""
    return _stat(process)[:1] not in ([], ["Z"], ["X"])


def children(parent: int, module: str) -> set[int]:
    """Return the running processes that this one has started with ``python -m module``; its servers are others."""
    numbers = [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]
    ours = {each for each in numbers if _stat(each)[1:2] == [str(parent)] and runs(each)}
    return {each for each in ours if module in _command(each)}


def listens_on(processes: Iterable[int]) -> set[Address]:
    """Return the addresses at which these processes wait for TCP connections; 0.0.0.0 and :: stand for every one."""
    sockets = {name for process in processes for name in _descriptors(process)}
    found = set()
    for table in ("net/tcp", "net/tcp6"):
        for line in (PROC / table).read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == _LISTENS and f"socket:[{words[9]}]" in sockets:
                found.add(_address(words[1].partition(":")[0]))
    return found


def _stat(process: int) -> list[str]:
    """Return the process's state, parent and so on; none if it is gone."""
    try:
        return (PROC / str(process) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _command(process: int) -> list[str]:
    try:
        return (PROC / str(process) / "cmdline").read_text().split("\0")
    except OSError:
        return []


def _descriptors(process: int) -> set[str]:
    found = set()
    try:
        for entry in (PROC / str(process) / "fd").iterdir():
            found.add(os.readlink(entry))
    except OSError:  # closed, or the process has ended, meanwhile
        pass
    return found


def _address(written: str) -> Address:
    """Read the kernel's notation: words of four bytes, each in the machine's (little-endian) order."""
    raw = bytes.fromhex(written)
    address = ipaddress.ip_address(b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4)))
    return getattr(address, "ipv4_mapped", None) or address
