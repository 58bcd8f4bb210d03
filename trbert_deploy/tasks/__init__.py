"""The tasks: what each takes beside token ids, what it answers, and whether dropped tokens come back at the end."""

from __future__ import annotations

from dataclasses import dataclass

from trbert_deploy.core.errors import TRBertError

#: What stands in a logit where there is nothing to score (padding, an absent candidate): upstream's value, finite
#: in half precision too.
NO_LOGIT = -10000.0


@dataclass(frozen=True)
class Output:
    """One output array of a task.

    Attributes:
        name: as users see it.
        per_token: whether its second axis is the row's tokens (then it is padded like the row).
        padding: what stands at padded positions.
    """

    name: str
    per_token: bool = False
    padding: float = 0.0


@dataclass(frozen=True)
class Task:
    """What one task of TR-BERT takes and answers.

    Attributes:
        name: stored in checkpoints and manifests.
        outputs: in the order in which graphs give them.
        inputs: beside input_ids, attention_mask and token_type_ids.
        restores: whether the head needs every token, so that skipped ones are put back with the state they left with.
        multiple_choice: whether ids are [B, options, N], with one selection shared by the options of a row.
    """

    name: str
    outputs: tuple[Output, ...]
    inputs: tuple[str, ...] = ()
    restores: bool = False
    multiple_choice: bool = False

    def output(self, name: str) -> Output:
        """The output of that name."""
        return next(output for output in self.outputs if output.name == name)


SEQUENCE_CLASSIFICATION = Task("sequence-classification", (Output("logits"),))
MULTIPLE_CHOICE = Task("multiple-choice", (Output("logits"),), inputs=("question_ends",), multiple_choice=True)
_SPAN = (
    Output("start_logits", per_token=True, padding=NO_LOGIT),
    Output("end_logits", per_token=True, padding=NO_LOGIT),
)
QUESTION_ANSWERING = Task("question-answering", _SPAN, restores=True)
HOTPOT = Task(
    "hotpot",
    (*_SPAN, Output("switch_logits"), Output("sent_logits")),
    inputs=("sentence_spans",),
    restores=True,
)
WIKIHOP = Task("wikihop", (Output("candidate_logits"),), inputs=("candidate_positions",), restores=True)
TOKEN_CLASSIFICATION = Task("token-classification", (Output("logits", per_token=True),), restores=True)

TASKS = {
    task.name: task
    for task in (
        SEQUENCE_CLASSIFICATION,
        MULTIPLE_CHOICE,
        QUESTION_ANSWERING,
        HOTPOT,
        WIKIHOP,
        TOKEN_CLASSIFICATION,
    )
}


def task_named(name: str) -> Task:
    """The task of that name.

    Raises:
        TRBertError: there is none.
    """
    try:
        return TASKS[name]
    except KeyError:
        raise TRBertError(f"unknown task {name!r}", f"one of: {', '.join(TASKS)}") from None
