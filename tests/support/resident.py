"""How much memory a process holds."""

from __future__ import annotations

from pathlib import Path


def resident(process: int | str = "self") -> float:
    """MiB in physical memory."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def takes_no_more(held: list[float], most: float = 1.1) -> bool:
    """Whether what was held in the second half of a run is at most so many times what was in the first."""
    half = len(held) // 2
    return max(held[half:]) < max(held[:half]) * most + 10
