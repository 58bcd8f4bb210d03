"""From output arrays to answers: one function a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trbert_deploy.tasks import Task
from trbert_deploy.text.tokenization import Row

FloatArray = npt.NDArray[np.floating[Any]]
Answer = dict[str, Any]

#: Tokens of the longest answer span: upstream's ``max_answer_length`` (run_squad.py, run_hotpot.py).
MAX_ANSWER_TOKENS = 30

#: What upstream's ``switch`` means (run_hotpot.py, `write_predictions`).
HOTPOT_TYPES = ("span", "yes", "no")


def decode(task: Task, labels: Sequence[str], row: Row, outputs: Mapping[str, FloatArray]) -> Answer:
    """One row's answer, ready for JSON.

    Args:
        task: of the model.
        labels: names of its classes, by index; may be empty.
        row: what was asked.
        outputs: the task's outputs for this row, without the batch's axis; over tokens as wide as the batch.
    """
    cut = {name: array[: row.length] if task.output(name).per_token else array for name, array in outputs.items()}
    return _DECODERS[task.name](labels, row, cut)


def _sequence_classification(labels: Sequence[str], row: Row, outputs: Mapping[str, FloatArray]) -> Answer:
    """``label``, its probability ``score``, all ``scores``; a single logit is itself the ``score``."""
    logits = outputs["logits"]
    if len(logits) == 1:  # a regressor or reranker: nothing to choose from
        return {"score": float(logits[0])}
    scores = _softmax(logits)
    names = [_label(labels, index) for index in range(len(scores))]
    best = int(np.argmax(scores))
    return {
        "label": names[best],
        "score": float(scores[best]),
        "scores": dict(zip(names, scores.tolist(), strict=True)),
    }


def _multiple_choice(labels: Sequence[str], row: Row, outputs: Mapping[str, FloatArray]) -> Answer:
    """``choice`` by index, its ``text`` where it was given as text, the probabilities ``scores``."""
    scores = _softmax(outputs["logits"])
    best = int(np.argmax(scores))
    text = {"text": row.choices[best]} if row.choices else {}
    return {"choice": best, **text, "scores": scores.tolist()}


def _question_answering(labels: Sequence[str], row: Row, outputs: Mapping[str, FloatArray]) -> Answer:
    """See `_span`."""
    return _span(row, outputs["start_logits"], outputs["end_logits"])


def _hotpot(labels: Sequence[str], row: Row, outputs: Mapping[str, FloatArray]) -> Answer:
    """``type``, the ``answer`` (a span as in question answering, or yes or no), ``supporting_sentences``."""
    kind = HOTPOT_TYPES[int(np.argmax(outputs["switch_logits"]))]
    if kind == "span":
        answer = _span(row, outputs["start_logits"], outputs["end_logits"])
    else:
        answer = {"answer": kind}
    spans, logits = row.arrays["sentence_spans"], outputs["sent_logits"]
    supporting = [index for index, span in enumerate(spans) if span[0] >= 0 and logits[index, 1] > logits[index, 0]]
    return {"type": kind, **answer, "supporting_sentences": supporting}


def _wikihop(labels: Sequence[str], row: Row, outputs: Mapping[str, FloatArray]) -> Answer:
    """``candidate`` by index, or null where none is present; ``scores``, 0 for an absent one."""
    positions = row.arrays["candidate_positions"]
    present = positions >= 0
    scores = np.zeros(len(positions))
    if not present.any():
        return {"candidate": None, "scores": scores.tolist()}
    scores[present] = _softmax(outputs["candidate_logits"][: len(positions)][present])
    return {"candidate": int(np.argmax(scores)), "scores": scores.tolist()}


def _token_classification(labels: Sequence[str], row: Row, outputs: Mapping[str, FloatArray]) -> Answer:
    """``tokens`` without special ones; where the text is not known, every token by its ``position``."""
    scores = _softmax(outputs["logits"])
    tokens: list[Answer] = []
    for position, index in enumerate(np.argmax(scores, axis=-1)):
        if row.offsets is None or row.text is None:
            where: Answer = {"position": position}
        elif (offset := row.offsets[position]) is None:
            continue
        else:
            where = {"text": row.text[slice(*offset)], "start": offset[0], "end": offset[1]}
        label = _label(labels, int(index))
        tokens.append({**where, "label": label, "score": float(scores[position, index])})
    return {"tokens": tokens}


_DECODERS: dict[str, Callable[[Sequence[str], Row, Mapping[str, FloatArray]], Answer]] = {
    "sequence-classification": _sequence_classification,
    "multiple-choice": _multiple_choice,
    "question-answering": _question_answering,
    "hotpot": _hotpot,
    "wikihop": _wikihop,
    "token-classification": _token_classification,
}


def best_span(start_logits: FloatArray, end_logits: FloatArray, answerable: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """The span with the highest sum of start and end logit.

    Args:
        start_logits: [N].
        end_logits: [N].
        answerable: bool [N], tokens that may be part of an answer, at least one; a span holds no other.

    Returns:
        Its first and last token, at most `MAX_ANSWER_TOKENS` of them. Of equal spans the one that starts,
        then the one that ends first.
    """
    size = len(start_logits)
    position = np.arange(size)
    span_length = position[None, :] - position[:, None] + 1
    piece = np.cumsum(~answerable)  # the same for two answerable tokens with none between that is not
    allowed = (
        (span_length >= 1)
        & (span_length <= MAX_ANSWER_TOKENS)
        & answerable[:, None]
        & answerable[None, :]
        & (piece[:, None] == piece[None, :])
    )
    scores = np.where(allowed, start_logits[:, None].astype(np.float64) + end_logits[None, :], -np.inf)
    start, end = divmod(int(np.argmax(scores)), size)
    return start, end


def _span(row: Row, start_logits: FloatArray, end_logits: FloatArray) -> Answer:
    """The best span.

    Returns:
        Where the text is known, the ``answer`` with ``start`` and ``end``, its characters in the context;
        ``start_token`` and ``end_token`` in the row (inclusive; null where the context is empty); ``score``,
        the product of the probabilities of its ends.
    """
    answerable = _answerable(row)
    if not answerable.any():
        return {"answer": "", "start": 0, "end": 0, "start_token": None, "end_token": None, "score": 0.0}
    start, end = best_span(start_logits, end_logits, answerable)
    of_start, of_end = _softmax_where(start_logits, answerable), _softmax_where(end_logits, answerable)
    answer: Answer = {}
    if row.offsets is not None and row.text is not None:
        first, last = row.offsets[start], row.offsets[end]
        assert first is not None
        assert last is not None
        answer = {"answer": row.text[first[0] : last[1]], "start": first[0], "end": last[1]}
    score = float(of_start[start] * of_end[end])
    return {**answer, "start_token": start, "end_token": end, "score": score}


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


def _label(labels: Sequence[str], index: int) -> str:
    return labels[index] if index < len(labels) else str(index)


def _softmax(logits: FloatArray) -> npt.NDArray[np.float64]:
    """Probabilities over the last axis."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def _softmax_where(logits: FloatArray, wanted: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    scores = np.zeros(len(logits))
    scores[wanted] = _softmax(logits[wanted])
    return scores
