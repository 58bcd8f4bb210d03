"""From output arrays to predictions: one function a kind of decoding, told by parameters what to read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trbert_deploy.core.errors import InputError
from trbert_deploy.core.specs import TaskSpec
from trbert_deploy.text.rows import Row
from trbert_deploy.text.spans import FloatArray, best_span, sigmoid, softmax, softmax_where

Prediction = dict[str, Any]
Outputs = Mapping[str, FloatArray]

#: Is given the parameters, the labels, the row and its outputs.
Decoder = Callable[[Mapping[str, Any], Sequence[str], Row, Outputs], Prediction]


def decode(task: TaskSpec, labels: Sequence[str], row: Row, outputs: Outputs) -> Prediction:
    """One row's prediction, ready for JSON.

    Args:
        task: of the model.
        labels: names of its classes, by index; may be empty.
        row: what was asked.
        outputs: the task's outputs for this row, without the batch's axis; over tokens as wide as the batch.

    Raises:
        InputError: this release has no decoder of that kind.
    """
    decoder = DECODERS.get(task.decoding.kind)
    if decoder is None:
        raise InputError(
            f"this release does not decode outputs of the kind {task.decoding.kind!r}",
            f"upgrade trbert-deploy, or take the arrays from Engine.run; it decodes {', '.join(DECODERS)}",
        )
    cut = {name: array[: row.length] if task.output(name).per_token else array for name, array in outputs.items()}
    return decoder(task.decoding.parameters, labels, row, cut)


def _classes(parameters: Mapping[str, Any], labels: Sequence[str], row: Row, outputs: Outputs) -> Prediction:
    """Classes of a row, from the logits `output` [C].

    By `activation`: ``"softmax"``: ``label``, its probability ``score``, all ``scores``. ``"sigmoid"``: the ``labels``
    whose score is at least `threshold`, all ``scores``. ``"identity"``: the logits themselves, of a single one as
    ``score``.
    """
    logits, activation = outputs[parameters["output"]], parameters["activation"]
    if activation == "identity" and len(logits) == 1:  # a regressor or reranker: nothing to choose from
        return {"score": float(logits[0])}
    if activation == "softmax":
        scores = softmax(logits)
    elif activation == "sigmoid":
        scores = sigmoid(logits)
    else:
        scores = logits.astype(np.float64)
    names = [_label(labels, index) for index in range(len(scores))]
    named = dict(zip(names, scores.tolist(), strict=True))
    if activation == "sigmoid":
        return {"labels": [name for name, score in named.items() if score >= parameters["threshold"]], "scores": named}
    if activation == "identity":
        return {"scores": named}
    best = int(np.argmax(scores))
    return {"label": names[best], "score": float(scores[best]), "scores": named}


def _choices(parameters: Mapping[str, Any], labels: Sequence[str], row: Row, outputs: Outputs) -> Prediction:
    """``choice`` by index, its ``text`` where it was given as text, the probabilities ``scores``; of `output` [O]."""
    scores = softmax(outputs[parameters["output"]])
    best = int(np.argmax(scores))
    text = {"text": row.choices[best]} if row.choices else {}
    return {"choice": best, **text, "scores": scores.tolist()}


def _span(parameters: Mapping[str, Any], labels: Sequence[str], row: Row, outputs: Outputs) -> Prediction:
    """The best span, by the logits `start` and `end` [N], of at most `max_tokens` tokens.

    Returns:
        Where the text is known, the ``answer`` with ``start`` and ``end``, its characters in the context;
        ``start_token`` and ``end_token`` in the row (inclusive; null where the context is empty); ``score``,
        the product of the probabilities of its ends.
    """
    answerable = _answerable(row)
    if not answerable.any():
        return {"answer": "", "start": 0, "end": 0, "start_token": None, "end_token": None, "score": 0.0}
    start_logits, end_logits = outputs[parameters["start"]], outputs[parameters["end"]]
    start, end = best_span(start_logits, end_logits, answerable, parameters["max_tokens"])
    of_start, of_end = softmax_where(start_logits, answerable), softmax_where(end_logits, answerable)
    found: Prediction = {}
    if row.offsets is not None and row.text is not None:
        first, last = row.offsets[start], row.offsets[end]
        assert first is not None
        assert last is not None
        found = {"answer": row.text[first[0] : last[1]], "start": first[0], "end": last[1]}
    score = float(of_start[start] * of_end[end])
    return {**found, "start_token": start, "end_token": end, "score": score}


def _answerable(row: Row) -> npt.NDArray[np.bool_]:
    """Which tokens may be part of an answer, bool [N].

    Those with offsets; where they are not known the second segment, or the whole row where there is but one,
    without the first token and the last, [CLS] and [SEP].
    """
    if row.offsets is not None:
        return np.array([offset is not None for offset in row.offsets], dtype=np.bool_)
    types = row.arrays.get("token_type_ids")
    answerable = np.ones(row.length, dtype=np.bool_) if types is None or not types.any() else types == 1
    answerable[[0, -1]] = False
    return answerable


def _span_with_evidence(parameters: Mapping[str, Any], labels: Sequence[str], row: Row, outputs: Outputs) -> Prediction:
    """``type``, the ``answer``, ``supporting_sentences``.

    The type is the best of `types` by the logits `type`; its first stands for a span as in `_span`, the others are the
    answer themselves. A sentence of the input `evidence_spans` supports it where the second of its logits `evidence`
    [S, 2] is the larger one.
    """
    kind = parameters["types"][int(np.argmax(outputs[parameters["type"]]))]
    is_span = kind == parameters["types"][0]
    found = _span(parameters, labels, row, outputs) if is_span else {"answer": kind}
    spans, logits = row.arrays[parameters["evidence_spans"]], outputs[parameters["evidence"]]
    supporting = [index for index, span in enumerate(spans) if span[0] >= 0 and logits[index, 1] > logits[index, 0]]
    return {"type": kind, **found, "supporting_sentences": supporting}


def _candidates(parameters: Mapping[str, Any], labels: Sequence[str], row: Row, outputs: Outputs) -> Prediction:
    """``candidate`` by index, or null where none is present; ``scores``, 0 for an absent one.

    By the logits `output` [C] of the candidates that the input `positions` says are there.
    """
    positions = row.arrays[parameters["positions"]]
    present = positions >= 0
    scores = np.zeros(len(positions))
    if not present.any():
        return {"candidate": None, "scores": scores.tolist()}
    scores[present] = softmax(outputs[parameters["output"]][: len(positions)][present])
    return {"candidate": int(np.argmax(scores)), "scores": scores.tolist()}


def _tokens(parameters: Mapping[str, Any], labels: Sequence[str], row: Row, outputs: Outputs) -> Prediction:
    """``tokens`` without special ones, by `output` [N, C]; where no text is known, each by its ``position``."""
    scores = softmax(outputs[parameters["output"]])
    tokens: list[Prediction] = []
    for position, index in enumerate(np.argmax(scores, axis=-1)):
        if row.offsets is None or row.text is None:
            where: Prediction = {"position": position}
        elif (offset := row.offsets[position]) is None:
            continue
        else:
            where = {"text": row.text[slice(*offset)], "start": offset[0], "end": offset[1]}
        label = _label(labels, int(index))
        tokens.append({**where, "label": label, "score": float(scores[position, index])})
    return {"tokens": tokens}


DECODERS: dict[str, Decoder] = {
    "classes": _classes,
    "choices": _choices,
    "span": _span,
    "span_with_evidence": _span_with_evidence,
    "candidates": _candidates,
    "tokens": _tokens,
}


def _label(labels: Sequence[str], index: int) -> str:
    return labels[index] if index < len(labels) else str(index)
