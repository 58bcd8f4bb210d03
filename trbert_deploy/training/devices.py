"""What a training runs on."""

from __future__ import annotations

from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, InitProcessGroupKwargs

from trbert_deploy.core.errors import DeviceError

#: What one process does alone, such as answering all rows with the teacher, must not look like a hang to the others.
_PATIENCE = timedelta(days=2)
_KNOWN = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)


def make_accelerator(precision: str, device: str | None) -> Accelerator:
    """Accelerate's view of the devices, as asked for or not at all.

    Args:
        precision: ``"no"``, ``"bf16"`` or ``"fp16"``.
        device: ``"cpu"`` or ``"cuda"``; None takes what accelerate finds.

    Raises:
        DeviceError: the device is not there or cannot compute in this precision, or the processes are spread in
            another way than data parallelism.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceError("PyTorch sees no CUDA device", "check: trbert-deploy env")
    try:
        accelerator = Accelerator(
            mixed_precision=precision, cpu=device == "cpu", kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)]
        )
    except ValueError as error:
        raise DeviceError(f"accelerate refuses precision {precision}: {error}", "--precision no") from error
    if precision != "no" and not accelerator.native_amp:  # accelerate would quietly compute in float32
        raise DeviceError(
            f"PyTorch does not train in {precision} on {accelerator.device.type}",
            "--precision bf16 on a CPU, or --precision no",
        )
    if device is not None and accelerator.device.type != device:
        raise DeviceError(f"this process trains on {accelerator.device.type} already", "start a new one")
    if accelerator.distributed_type not in _KNOWN:
        raise DeviceError(
            f"accelerate is configured for {accelerator.distributed_type.value}",
            "choose plain data parallelism: accelerate launch --multi_gpu -m trbert_deploy train ...",
        )
    return accelerator
