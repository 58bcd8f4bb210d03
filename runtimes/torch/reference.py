"""PyTorch: the reference that everything is measured and checked against."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from trbert_deploy.bundle import Bundle
from trbert_deploy.checkpoint import load_checkpoint
from trbert_deploy.core.errors import BundleError, DeviceError
from trbert_deploy.core.request import Request
from trbert_deploy.core.selection import Kept
from trbert_deploy.model import TRBertOutput, TRBertPreTrainedModel
from trbert_deploy.runtimes.base import Collector, Result, refuse_replay


class ReferenceRuntime:
    """A ``TRBertFor...`` model, eager, float32, the whole batch at once."""

    def __init__(self, model: TRBertPreTrainedModel, *, device: str = "cpu", threads: int | None = None) -> None:
        if device not in ("cpu", "cuda"):
            raise DeviceError(f"unknown device {device!r}", "one of: cpu, cuda")
        if device == "cuda" and not torch.cuda.is_available():
            raise DeviceError("device 'cuda' was asked for, but PyTorch sees none", "use --device cpu")
        self.name = "torch"
        self.device = device
        self.model = model.eval().to(device)
        self._threads = threads

    @classmethod
    def of_bundle(
        cls, bundle: Bundle, *, device: str = "cpu", threads: int | None = None, dense: bool = False
    ) -> ReferenceRuntime:
        """The checkpoint that lies in a bundle, on request without its reductions.

        Raises:
            BundleError: the bundle was exported without it.
        """
        folder = bundle.manifest.reference
        if folder is None:
            raise BundleError(f"the bundle {bundle.folder} was exported with --no-reference", "export it again without")
        model = load_checkpoint(bundle.path(folder)).model
        return cls(model.without_reduction() if dense else model, device=device, threads=threads)

    def forward(self, request: Request) -> TRBertOutput:
        """The model's own output for a batch, with selector logits."""
        inputs = {name: torch.from_numpy(array).to(self.device) for name, array in request.arrays.items()}
        with torch.inference_mode(), _threads(self._threads):
            output: TRBertOutput = self.model(**inputs)
        return output

    def run(self, request: Request, *, want_kept: bool, replay: Kept | None = None) -> Result:
        """See `Runtime.run`."""
        refuse_replay(replay)
        return self.collect(request, self.forward(request), want_kept=want_kept)

    def collect(self, request: Request, output: TRBertOutput, *, want_kept: bool) -> Result:
        """What `forward` gave for a request, as a result on the host."""
        collector = Collector(request, len(output.keep_masks), want_kept, full_length=self.model.full_length)
        rows = np.arange(len(request))
        collector.add(rows, {name: _host(value) for name, value in output.outputs.items()})
        if want_kept:
            collector.add_kept(rows, [_host(mask) for mask in output.keep_masks])
        return collector.result([[len(rows)] for _ in range(self.model.num_stages)])

    def close(self) -> None:
        """See `Runtime.close`."""


def _host(tensor: Tensor) -> np.ndarray:
    return tensor.cpu().numpy()


_threads_lock = threading.Lock()


@contextlib.contextmanager
def _threads(threads: int | None) -> Iterator[None]:
    """Run with so many intra-op threads; PyTorch's number belongs to the process, so it is lent to one at a time."""
    if threads is None:
        yield
        return
    with _threads_lock:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)
