from __future__ import annotations

import json
import os
import platform
import sys
from importlib import metadata

import numpy as np
import onnxruntime
import pytest

from trbert_deploy.core.registry import Registry
from trbert_deploy.runtimes import environment as module
from trbert_deploy.runtimes.environment import environment, usable_cpus
from trbert_deploy.runtimes.registry import RUNTIMES, RuntimePart


def test_facts_are_this_machines_as_plain_text():
    facts = environment()
    assert facts["python"] == platform.python_version()
    assert facts["numpy"] == np.__version__
    assert facts["cpu_count"] == str(len(os.sched_getaffinity(0)))
    assert all(isinstance(value, str) and value for value in facts.values())
    assert json.loads(json.dumps(facts)) == facts


def test_what_is_absent_reads_not_installed(monkeypatch):
    real = metadata.version

    def version(name):
        if name in ("torch", "tensorrt"):
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(module.metadata, "version", version)
    facts = environment()
    assert facts["torch"] == facts["tensorrt"] == "not installed"
    assert facts["numpy"] == np.__version__


def test_every_runtime_says_its_packages_and_facts():
    facts = environment()
    for part in RUNTIMES:
        assert {*part.distributions} <= facts.keys()
        assert part.facts().keys() <= facts.keys()
    assert facts["onnxruntime_providers"] == ", ".join(onnxruntime.get_available_providers())


class Other(RuntimePart):
    name = title = what = "other"
    packages = {"numpy": "cpu", "other_runtime": "cpu"}  # noqa: RUF012

    def open(self, bundle, options):
        raise NotImplementedError

    def facts(self):
        return {"other_devices": "two", "cuda_device": "another one"}


class Broken(Other):
    def facts(self):
        raise RuntimeError("its library is broken\nand says so at length")


def test_runtimes_of_other_packages_are_asked_too_and_stop_nothing(monkeypatch):
    own = {name: RUNTIMES.get(name) for name in RUNTIMES.names()}
    registry = Registry("runtime", "no.such.group", dict.fromkeys([*own, "other", "broken", "absent"], "nowhere:X"))
    registry._loaded.update(own, other=Other(), broken=Broken())
    monkeypatch.setattr(module, "RUNTIMES", registry)
    before = own["torch"].facts() | own["trt"].facts()
    facts = environment()
    assert facts["other_devices"] == "two"
    assert facts["other_runtime"] == "not installed"
    assert facts["cuda_device"] == before["cuda_device"]  # the first that says it counts
    assert facts["runtime broken"] == "does not load: its library is broken"
    assert facts["runtime absent"] == "does not load: No module named 'nowhere'"


@pytest.mark.parametrize("package", ["torch", "onnxruntime"])
@pytest.mark.parametrize("error", [ImportError("no"), OSError("libcudart.so.13: cannot open"), RuntimeError("broken")])
def test_a_broken_installation_does_not_stop_it(monkeypatch, package, error):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == package:
                raise error

    monkeypatch.delitem(sys.modules, package, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    facts = environment()
    key = {"torch": "cuda_device", "onnxruntime": "onnxruntime_providers"}[package]
    assert "not installed" in facts[key]


def test_without_proc_and_affinity(monkeypatch):
    def gone(*_args, **_kwargs):
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", gone)
    assert module._cpu_name() == (platform.processor() or platform.machine())
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cpus() == os.cpu_count()
