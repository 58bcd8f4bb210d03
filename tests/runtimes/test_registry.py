"""What a runtime's part says before its library is loaded, and which options it refuses."""

from __future__ import annotations

import pytest

from trbert_deploy.core.errors import DeviceError, TRBertError
from trbert_deploy.runtimes.options import LoadOptions
from trbert_deploy.runtimes.registry import RUNTIMES, RuntimePart, optional_packages, targets


@pytest.mark.parametrize(
    ("options", "device"),
    [
        (LoadOptions(), "cpu"),
        (LoadOptions(device="cuda"), "cuda"),
        (LoadOptions(provider="tensorrt"), "cuda"),
        (LoadOptions(provider="rtx"), "cuda"),
        (LoadOptions(runtime="trt"), "cuda"),
        (LoadOptions(runtime="torch", mode="dense"), "cpu"),
    ],
)
def test_the_device_where_none_is_named(options, device):
    resolved = RUNTIMES.get(options.runtime).resolve(options)
    assert resolved.device == device
    assert (resolved.mode, resolved.provider) == (options.mode, options.provider)


@pytest.mark.parametrize(
    ("options", "error", "message", "hint"),
    [
        ({"mode": "eager"}, TRBertError, "unknown mode 'eager'", "one of: staged, fused, dense"),
        (
            {"runtime": "torch", "mode": "fused"},
            TRBertError,
            "runtime 'torch' has no mode 'fused'",
            "it takes staged and dense",
        ),
        ({"provider": "openvino"}, TRBertError, "unknown provider 'openvino'", "one of: tensorrt, rtx"),
        (
            {"runtime": "trt", "provider": "rtx"},
            TRBertError,
            "runtime 'trt' has no providers",
            "--provider goes with --runtime ort",
        ),
        (
            {"provider": "rtx", "device": "cpu"},
            DeviceError,
            "provider 'rtx' does not run on device 'cpu'",
            "--device cuda, or no --provider",
        ),
        ({"device": "tpu"}, DeviceError, "unknown device 'tpu'", "one of: cpu, cuda"),
        ({"runtime": "torch", "device": "tpu"}, DeviceError, "unknown device 'tpu'", "one of: cpu, cuda"),
        (
            {"runtime": "trt", "device": "cpu"},
            DeviceError,
            "runtime 'trt' does not run on device 'cpu'",
            "--device cuda, or --runtime ort",
        ),
    ],
)
def test_options_that_a_runtime_has_not(options, error, message, hint):
    given = LoadOptions(**options)
    with pytest.raises(error) as caught:
        RUNTIMES.get(given.runtime).resolve(given)
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_targets_are_what_the_parts_list():
    assert targets() == {
        "ort-cpu": ("ort", None, "cpu"),
        "ort-cuda": ("ort", None, "cuda"),
        "ort-tensorrt": ("ort", "tensorrt", "cuda"),
        "ort-rtx": ("ort", "rtx", "cuda"),
        "trt": ("trt", None, "cuda"),
    }
    for runtime, provider, device in targets().values():
        part = RUNTIMES.get(runtime)
        resolved = part.resolve(LoadOptions(runtime=runtime, provider=provider, device=device))
        assert resolved.device == device


def test_parts_are_named_as_they_are_registered():
    for name in RUNTIMES.names():
        part = RUNTIMES.get(name)
        assert isinstance(part, RuntimePart)
        assert part.name == name
        assert part.packages.items() <= optional_packages().items()


def test_a_number_of_threads_is_the_one_that_is_wanted_where_the_process_has_no_pool():
    assert RUNTIMES.get("torch").threads(3) == 3
    assert RUNTIMES.get("trt").threads(None) is None
