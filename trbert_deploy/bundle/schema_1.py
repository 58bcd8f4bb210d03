"""Manifests of schema 1.x, read as those of today: what they leave unsaid stands in schema_1.json.

The C++ library is built with the same file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

#: Of any model, so that a number gone wrong fills no memory.
MOST_LAYERS = 10_000

_TABLE = Path(__file__).with_name("schema_1.json")
_ROW_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def from_schema_1(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The same manifest in today's form.

    Args:
        raw: a manifest of schema 1.x, not validated; what is missing in it is missing in the result, or a reason for
            the error.

    Raises:
        ValueError: it names a task that there was not, or lacks what the new form is made from.
    """
    table = _table()
    try:
        task = table["tasks"].get(raw["task"])
        if task is None:
            raise ValueError(f"task: unknown task {raw['task']!r}")
        selection, limits, model = raw["selection"], raw["limits"], raw["model"]
        graphs = {
            "stages": [_graph(graph, task, raw) for graph in raw["stages"]],
            "fused": _graph(raw["fused"], task, raw),
        }
        dense = raw.get("dense")
        kept = {name: value for name, value in raw.items() if name not in _REPLACED}
        return {
            **kept,
            **graphs,
            "dense": dense and _graph(dense, task, raw),
            "task": _task(raw["task"], task, limits, model["labels"]),
            "reduction": {
                "kind": "selector",
                "layers": raw["reduction_layers"],
                "mode": selection["mode"],
                "fractions": selection["keep"],
                "full_length": task["full_length"],
            },
            "costs": _costs(raw["task"], model, raw["reduction_layers"]),
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


_REPLACED = ("task", "reduction_layers", "selection", "limits", "outputs", "stages", "fused", "dense")


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(_TABLE.read_text(encoding="utf-8"))
    return table


def _task(name: str, task: Mapping[str, Any], limits: Mapping[str, Any], labels: list[str]) -> dict[str, Any]:
    """A `TaskSpec`: the token inputs follow from the limits; a single logit was never a choice."""
    maxima = {"input_ids": limits["vocab_size"] - 1, "attention_mask": 1, "token_type_ids": limits["token_types"] - 1}
    defaults = {"attention_mask": 1, "token_type_ids": 0}
    rows = [
        {"name": one, "axes": task["row_axes"], "maximum": maxima[one], "default": defaults.get(one)}
        for one in _ROW_INPUTS
        if one != "token_type_ids" or limits["token_types"]
    ]
    decoding = dict(task["decoding"])
    if decoding["kind"] == "classes" and len(labels) == 1:
        decoding["parameters"] = {**decoding["parameters"], "activation": "identity"}
    facts = {key: task[key] for key in ("outputs", "text", "sequences_axis", "protected_from")}
    return {
        **facts,
        "name": name,
        "inputs": rows + task["inputs"],
        "max_length": limits["max_length"],
        "decoding": decoding,
    }


def _graph(graph: Mapping[str, Any], task: Mapping[str, Any], raw: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "file": graph["file"],
        "inputs": [_tensor(name, task, raw) for name in graph["inputs"]],
        "outputs": [_tensor(name, task, raw) for name in graph["outputs"]],
    }


def _tensor(name: str, task: Mapping[str, Any], raw: Mapping[str, Any]) -> dict[str, Any]:
    """A `TensorSpec`, by the tensor's name."""
    if name in _ROW_INPUTS:
        return {"name": name, "axes": task["row_axes"], "dtype": "int64"}
    for kind, dtype in (("inputs", "int64"), ("outputs", "float32")):
        for one in task[kind]:
            if one["name"] == name:
                return {"name": name, "axes": one["axes"], "dtype": dtype}
    plain = name.removeprefix("next_")
    if plain == "hidden_states":
        states = "float16" if raw["precision"] == "fp16" else "float32"
        return {
            "name": name,
            "axes": ["batch_before", *task["row_axes"][1:], raw["model"]["hidden_size"]],
            "dtype": states,
        }
    if plain.startswith("keep_mask"):  # of the fused graph: keep_mask_1, ...
        plain = "keep_mask"
    return {"name": name, "axes": _table()["tensors"][plain], "dtype": "int64"}


def _costs(task: str, model: Mapping[str, Any], layers: list[int]) -> dict[str, Any]:
    """`Costs` of a BERT or DistilBERT with selectors; the heads as they were.

    Raises:
        ValueError: the model has more layers than there can be.
    """
    if not model["num_layers"] <= MOST_LAYERS:  # before there is a list of as many
        raise ValueError(f"model.num_layers must be at most {MOST_LAYERS}, not {model['num_layers']}")
    hidden, labels = model["hidden_size"], len(model["labels"])
    square, size = hidden * hidden, model["selector_size"]
    layer = {"query": 2 * square + 2 * hidden * model["intermediate_size"], "key": 2 * square, "pair": 2 * hidden}
    heads = {
        "sequence-classification": {"row": square + hidden * labels, "upstream": hidden * labels},
        "multiple-choice": {"row": square + hidden, "upstream": square + hidden},
        "question-answering": {"token": 2 * hidden, "upstream": 2 * hidden},
        "hotpot": {
            "row": 3 * hidden,
            "token": 2 * hidden,
            "entry": 2 * square + 2 * hidden,
            "upstream": 2 * hidden,
        },
        "wikihop": {"entry": hidden, "upstream": hidden},
        "token-classification": {"token": hidden * labels, "upstream": 2 * hidden},
    }
    return {
        "layers": [layer] * model["num_layers"],
        "score": hidden * size + size,
        "head": heads[task],
        "reduction_layers": layers,
    }
