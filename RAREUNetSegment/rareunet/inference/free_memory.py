"""How much memory is free, on the system that runs."""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
from pathlib import Path

import torch

PROCESS_GROUPS = Path("/proc/self/cgroup")
SYSTEM_MEMORY = Path("/proc/meminfo")
GROUP_FOLDER = Path("/sys/fs/cgroup")


def free_bytes(device: torch.device) -> float:
    """Bytes that a device can still give this process; infinite where the system does not say."""
    if device.type == "cuda":
        if device.index is None:  # before PyTorch 2.5 mem_get_info takes no "cuda" without its number
            device = torch.device("cuda", torch.cuda.current_device())
        free, _ = torch.cuda.mem_get_info(device)
        # What PyTorch keeps for itself but does not use now is free as well.
        return float(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    readers = {"linux": _free_on_linux, "darwin": _free_on_macos, "win32": _free_on_windows}
    try:
        return float(readers[sys.platform]())
    except (KeyError, OSError, ValueError, AttributeError, subprocess.SubprocessError):
        return float("inf")


def _free_on_linux() -> float:
    """What the kernel calls available, or what a container's limit leaves of it."""
    available = re.search(r"^MemAvailable:\s+(\d+) kB", SYSTEM_MEMORY.read_text(), re.MULTILINE)
    if available is None:
        raise ValueError("no MemAvailable")
    return min(1024.0 * int(available[1]), _left_by_group())


def _left_by_group() -> float:
    """Limits of control groups, version 2 (one line, "0::/path") and version 1."""
    left = float("inf")
    try:
        groups = PROCESS_GROUPS.read_text()
    except OSError:
        return left
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            folder, limit, usage, cache = GROUP_FOLDER, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            folder, limit, usage, cache = (
                GROUP_FOLDER / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
            )  # fmt: skip
        else:
            continue
        # A group's limit binds those below it. Within a container its own group is the root of what is mounted.
        own = Path(path.lstrip("/"))
        for group in (own, *own.parents):
            left = min(left, _left_in(folder / group, limit, usage, cache))
    return left


def _left_in(group: Path, limit: str, usage: str, cache: str) -> float:
    try:
        most = float((group / limit).read_text().replace("max", "inf"))
        used = float((group / usage).read_text())
        # Files that the kernel keeps in memory count as used but give way.
        files = re.search(rf"^{cache} (\d+)", (group / "memory.stat").read_text(), re.MULTILINE)
    except (OSError, ValueError):
        return float("inf")
    return max(most - used + (int(files[1]) if files else 0), 0.0)


def _free_on_macos() -> float:
    """Free pages and those that give way without being written to disk."""
    text = subprocess.run(["vm_stat"], capture_output=True, text=True, check=True, timeout=5).stdout
    size = re.search(r"page size of (\d+) bytes", text)
    pages = re.findall(r"^Pages (?:free|inactive|speculative|purgeable):\s+(\d+)", text, re.MULTILINE)
    if size is None or not pages:
        raise ValueError("vm_stat says no page counts")
    return float(size[1]) * sum(map(int, pages))


class _WindowsMemory(ctypes.Structure):
    """MEMORYSTATUSEX of the Windows API."""

    _fields_ = [
        ("length", ctypes.c_uint32),
        ("load_percent", ctypes.c_uint32),
        *((name, ctypes.c_uint64) for name in (
            "total", "available", "total_page_file", "available_page_file", "total_virtual", "available_virtual",
            "available_extended",
        )),
    ]  # fmt: skip


def _free_on_windows() -> float:
    memory = _WindowsMemory(length=ctypes.sizeof(_WindowsMemory))
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(memory)):  # type: ignore[attr-defined]
        raise OSError("GlobalMemoryStatusEx failed")
    return float(memory.available)
