"""PyTorch: the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trbert_deploy.core.extras import require
from trbert_deploy.runtimes.options import LoadOptions, Mode
from trbert_deploy.runtimes.registry import RuntimePart

if TYPE_CHECKING:
    from trbert_deploy.bundle import Bundle
    from trbert_deploy.runtimes.base import Runtime


class Torch(RuntimePart):
    """See `RuntimePart`."""

    name = "torch"
    title = "PyTorch"
    what = "the PyTorch reference"
    modes = ("staged", "dense")
    devices = ("cpu", "cuda")
    packages = {"torch": "torch", "transformers": "torch", "safetensors": "torch", "huggingface_hub": "torch"}
    distributions = ("torch", "transformers")

    def open(self, bundle: Bundle, options: LoadOptions) -> Runtime:
        """See `RuntimePart.open`."""
        module: Any = require("trbert_deploy.runtimes.torch.reference", "runtime 'torch'", packages=self.packages)
        dense = options.mode == "dense"
        opened: Runtime = module.ReferenceRuntime.of_bundle(
            bundle, device=options.device, threads=options.threads, dense=dense
        )
        return opened

    def files(self, bundle: Bundle, mode: Mode) -> list[str]:
        """See `RuntimePart.files`: the checkpoint's."""
        from trbert_deploy.bundle.vouching import files_of_folder

        reference = bundle.manifest.reference
        return [] if reference is None else files_of_folder(bundle, reference)

    def facts(self) -> dict[str, str]:
        """See `RuntimePart.facts`: the GPU, as PyTorch sees it."""
        try:
            import torch

            return {"cuda_device": torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"}
        except Exception:  # a broken installation must not stop a report
            return {"cuda_device": "unknown (torch is not installed)"}


RUNTIME = Torch()
