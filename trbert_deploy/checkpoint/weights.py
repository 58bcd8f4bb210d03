"""Weight files: read without unpickling anything but tensors, and loaded whole or not at all."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from trbert_deploy.core import strict_json
from trbert_deploy.core.errors import CheckpointError, first_line

_SAFETENSORS = "model.safetensors"
_PICKLE = "pytorch_model.bin"
_MOST_INDEX_BYTES = 64 * 2**20


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint folder by name, float16 ones widened to float32.

    Reads model.safetensors, pytorch_model.bin (``weights_only=True``), or the sharded forms of either.

    Raises:
        CheckpointError: there is no weight file, or one is truncated or holds more than tensors.
    """
    for name in (_SAFETENSORS, _PICKLE):
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            files = [folder / name]
        elif index.is_file():
            files = [folder / shard for shard in _shards(index)]
        else:
            continue
        weights: dict[str, Tensor] = {}
        for file in files:
            weights |= _read_file(file)
        return {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in weights.items()}
    raise CheckpointError(
        f"{folder} has no {_SAFETENSORS} or {_PICKLE}", "give a folder that holds config.json and the weights"
    )


def _shards(index: Path) -> list[str]:
    """The weight files that an index names, each in the index's own folder."""
    try:
        names = sorted(set(strict_json.read(index, most_bytes=_MOST_INDEX_BYTES)["weight_map"].values()))
        if all(Path(name).name == name for name in names):
            return names
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    raise CheckpointError(f"{index} is not a valid index of weight files", "copy the checkpoint again")


_LFS_POINTER = b"version https://git-lfs"


def _read_file(file: Path) -> dict[str, Tensor]:
    try:
        with file.open("rb") as stream:
            start = stream.read(len(_LFS_POINTER))
        if start == _LFS_POINTER:
            raise CheckpointError(f"{file} is a Git LFS pointer, not the weights themselves", "git lfs pull")
        if file.suffix == ".safetensors":
            return dict(load_file(file))
        tensors = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{file} is missing, but the checkpoint's index names it") from None
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{file} cannot be read as weights: {first_line(error)}", "it may be truncated: copy it again"
        ) from error
    except pickle.UnpicklingError as error:  # PyTorch's message advises to unpickle it all the same
        raise CheckpointError(
            f"{file} holds more than tensors, or something else, and is not unpickled",
            "save the model's state_dict() alone, best as model.safetensors",
        ) from error
    if not isinstance(tensors, dict) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise CheckpointError(f"{file} is not a state_dict (names to tensors)")
    return tensors


def load_weights(model: nn.Module, weights: dict[str, Tensor], where: str) -> None:
    """Fill `model` with exactly these weights.

    Raises:
        CheckpointError: keys are missing, left over, or of another shape; all of them are named.
    """
    wanted = model.state_dict()
    complaints = []
    if missing := sorted(wanted.keys() - weights.keys()):
        complaints.append(f"missing: {', '.join(missing)}")
    if extra := sorted(weights.keys() - wanted.keys()):
        complaints.append(f"unexpected: {', '.join(extra)}")
    misshapen = [
        f"{key} is {list(weights[key].shape)}, should be {list(tensor.shape)}"
        for key, tensor in wanted.items()
        if key in weights and weights[key].shape != tensor.shape
    ]
    if misshapen:
        complaints.append(f"of another shape: {'; '.join(misshapen)}")
    if complaints:
        raise CheckpointError(
            f"the weights in {where} do not fit the model that its config.json describes ({'; '.join(complaints)})"
        )
    model.load_state_dict(weights)
