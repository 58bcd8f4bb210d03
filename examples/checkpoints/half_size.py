"""Store a checkpoint's weights as float16: half the bytes; reading widens them to float32 again.

    python examples/checkpoints/half_size.py RUN/alpha-0.5/model SMALL

Everything else in the folder is copied. Measure the result before you use it: weights keep 11 bits of precision.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

_WEIGHTS = "model.safetensors"


def main() -> None:
    """Read, round, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="folder with config.json and model.safetensors")
    parser.add_argument("out", type=Path, help="folder to make")
    options = parser.parse_args()
    if not (options.checkpoint / _WEIGHTS).is_file():
        sys.exit(f"error: {options.checkpoint} has no {_WEIGHTS}")
    weights = load_file(options.checkpoint / _WEIGHTS)
    if beyond := [name for name, tensor in weights.items() if not tensor.half().isfinite().all()]:
        sys.exit(f"error: float16 cannot hold {', '.join(beyond)}")
    shutil.copytree(options.checkpoint, options.out, ignore=shutil.ignore_patterns(_WEIGHTS))
    target = options.out / _WEIGHTS
    save_file({name: tensor.to(torch.float16) for name, tensor in weights.items()}, target, {"format": "pt"})
    target.chmod((options.out / "config.json").stat().st_mode)  # it is written for its owner only


if __name__ == "__main__":
    main()
