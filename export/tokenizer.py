"""The tokenizer's files, and the same tokenizer as an ONNX graph for hosts without Python."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from trbert_deploy.bundle.manifest import TokenizerFacts
from trbert_deploy.export.sessions import session_options

TOKENIZER_FOLDER = "tokenizer"
TOKENIZER_GRAPH = "tokenizer.onnx"

#: A graph that gets one of these wrong is not shipped.
_ESSENTIAL = (
    "",
    "Hello, world! It's 3.14 (or so).",
    "<br /><br />I've seen it twice!!! 10/10",
    "naïve café, Ångström, Émile Zola",
    "日本語のテキスト and 中文字符",
    "tabs\tand\nnew lines\r\n and\u00a0no-break spaces",
    "a" * 120 + " pneumonoultramicroscopicsilicovolcanoconiosis",
)

#: What the graphs of onnxruntime-extensions are known to differ on, by name; each is tried, and the manifest says.
_DELICATE = {
    "capital letters beyond Latin": "Привет ΣΑΣ ЁЛКА",
    "rare Latin capitals": "İstanbul GROẞ",
    "special tokens written out": "a [SEP] b [MASK]",
    "emoji": "emoji 😀👩\u200d👩\u200d👧 and symbols €£¥ § ™",
    "invisible characters": "zero\u200bwidth, soft\u00adhyphen, e\u0301 combining",
    "other scripts": "עברית العربية हिन्दी ไทย 한국어",
}


def write_tokenizer(tokenizer: Any, folder: Path, max_length: int) -> tuple[TokenizerFacts, str | None]:
    """Write the tokenizer into a bundle.

    Args:
        tokenizer: a fast Hugging Face tokenizer.
        folder: the bundle's.
        max_length: of the model; the tokenizer's own limit counts where it is smaller.

    Returns:
        What the manifest says of it, and a remark for the user where the graph is not the tokenizer's equal.
    """
    tokenizer.save_pretrained(str(folder / TOKENIZER_FOLDER))
    facts = TokenizerFacts(
        folder=TOKENIZER_FOLDER,
        family=json.loads(tokenizer.backend_tokenizer.to_str())["model"]["type"].lower(),
        onnx=None,
        max_length=min(max_length, int(min(tokenizer.model_max_length, 10**9))),
    )
    try:
        content = _convert(tokenizer)
    except _NotConvertibleError as error:
        return facts, f"no {TOKENIZER_GRAPH}: {error}"
    ids_of = _tokenizer_of(content)
    for probe in _ESSENTIAL:
        if ids_of(probe) != tokenizer(probe)["input_ids"]:
            return facts, f"no {TOKENIZER_GRAPH}: it would give other ids for {probe[:40]!r}"
    (folder / TOKENIZER_GRAPH).write_bytes(content)
    differs = [kind for kind, probe in _DELICATE.items() if ids_of(probe) != tokenizer(probe)["input_ids"]]
    facts = facts.model_copy(update={"onnx": TOKENIZER_GRAPH, "onnx_differs_on": differs})
    return facts, f"{TOKENIZER_GRAPH} gives other ids for {', '.join(differs)}" if differs else None


class _NotConvertibleError(Exception):
    """onnxruntime-extensions makes no graph of this tokenizer."""


def _convert(tokenizer: Any) -> bytes:
    """The ONNX file of a tokenizer."""
    from onnxruntime_extensions import gen_processing_models

    # Without strip_accents the operator maps accented words to [UNK], whatever the casing says.
    strips = _strips_accents(tokenizer)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph, _ = gen_processing_models(tokenizer, pre_kwargs={"strip_accents": strips})
    except Exception as error:  # of many kinds: the converter knows a list of tokenizers
        raise _NotConvertibleError(
            f"onnxruntime-extensions does not convert a {type(tokenizer).__name__} ({error})"
        ) from error
    content: bytes = graph.SerializeToString()
    return content


def _strips_accents(tokenizer: Any) -> bool:
    """As the normalizer of tokenizer.json: an unset strip_accents follows lowercasing."""
    from tokenizers.normalizers import BertNormalizer

    normalizer = tokenizer.backend_tokenizer.normalizer
    if not isinstance(normalizer, BertNormalizer):
        return False
    strips = normalizer.strip_accents
    return bool(normalizer.lowercase if strips is None else strips)


def _tokenizer_of(content: bytes) -> Callable[[str], list[int]]:
    """Token ids of a text by an ONNX file."""
    from onnxruntime_extensions import get_library_path

    options = session_options()
    options.register_custom_ops_library(get_library_path())
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def ids_of(text: str) -> list[int]:
        ids = session.run(["input_ids"], {"text": np.array([text])})[0]
        return [int(token) for token in np.asarray(ids).reshape(-1)]

    return ids_of
