"""WikiHop: one of several candidates, each named by a token of the row."""

from __future__ import annotations

from trbert_deploy.core.specs import DecodingSpec, InputSpec, OutputSpec
from trbert_deploy.tasks.base import Task

TASK = Task(
    name="wikihop",
    architecture="ForWikihop",
    inputs=(InputSpec("candidate_positions", ("batch", "candidates"), minimum=-1, maximum_from_length=-1, padding=-1),),
    outputs=(OutputSpec("candidate_logits", ("batch", "candidates")),),
    decoding=DecodingSpec("candidates", {"output": "candidate_logits", "positions": "candidate_positions"}),
    head="trbert_deploy.tasks.heads.candidates:CandidateHead",
    restores=True,
    transformers=False,
    head_keys={r"^qa_outputs\.": "head.qa_outputs."},
)
