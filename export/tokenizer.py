"""The tokenizer's files, and the same tokenizer as an ONNX graph for hosts without Python."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from trbert_deploy.bundle.manifest import TokenizerFacts

TOKENIZER_FOLDER = "tokenizer"
TOKENIZER_GRAPH = "tokenizer.onnx"

#: What a tokenizer graph has to get right before it is shipped. Special tokens written out in a text are left out:
#: Hugging Face's tokenizers read them as such, the graph as plain text, which is the safer of the two.
_PROBES = (
    "",
    "Hello, world! It's 3.14 (or so).",
    "naïve café, Ångström, Émile Zola, İstanbul",
    "日本語のテキスト and 中文字符",
    "emoji 😀👩‍👩‍👧 and symbols €£¥ § ™",
    "tabs\tand\nnew lines\r\n and\u00a0no-break spaces",
    "a" * 120 + " pneumonoultramicroscopicsilicovolcanoconiosis",
    "zero\u200bwidth, soft\u00adhyphen, e\u0301 combining",
    "МОСКВА Ελλάδα עברית العربية हिन्दी",
    "<br /><br />I've seen it twice!!! 10/10",
)


def write_tokenizer(tokenizer: Any, folder: Path, max_length: int) -> tuple[TokenizerFacts, str | None]:
    """Write the tokenizer into a bundle.

    Args:
        tokenizer: a fast Hugging Face tokenizer.
        folder: the bundle's.
        max_length: of the model; the tokenizer's own limit counts where it is smaller.

    Returns:
        What the manifest says of it, and, where no faithful graph of it can be made, the reason.
    """
    tokenizer.save_pretrained(str(folder / TOKENIZER_FOLDER))
    max_length = min(max_length, int(min(tokenizer.model_max_length, 10**9)))
    reason = _write_graph(tokenizer, folder / TOKENIZER_GRAPH)
    graph = None if reason else TOKENIZER_GRAPH
    return TokenizerFacts(folder=TOKENIZER_FOLDER, onnx=graph, max_length=max_length), reason


def _write_graph(tokenizer: Any, path: Path) -> str | None:
    from onnxruntime_extensions import gen_processing_models

    # Without strip_accents the operator maps accented words to [UNK], whatever the casing says.
    strips = _strips_accents(tokenizer)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph, _ = gen_processing_models(tokenizer, pre_kwargs={"strip_accents": strips})
    except Exception as error:  # of many kinds: the converter knows a list of tokenizers
        return f"onnxruntime-extensions cannot convert a {type(tokenizer).__name__}: {error}"
    onnx.save(graph, path)
    for probe in _PROBES:
        if _graph_ids(path, probe) != tokenizer(probe)["input_ids"]:
            path.unlink()
            return f"the graph made by onnxruntime-extensions tokenizes {probe[:40]!r} differently"
    return None


def _strips_accents(tokenizer: Any) -> bool:
    """As the normalizer of tokenizer.json: an unset strip_accents follows lowercasing."""
    from tokenizers.normalizers import BertNormalizer

    normalizer = tokenizer.backend_tokenizer.normalizer
    if not isinstance(normalizer, BertNormalizer):
        return False
    strips = normalizer.strip_accents
    return bool(normalizer.lowercase if strips is None else strips)


def _graph_ids(path: Path, text: str) -> list[int]:
    import onnxruntime
    from onnxruntime_extensions import get_library_path

    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(get_library_path())
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    ids = session.run(["input_ids"], {session.get_inputs()[0].name: np.array([text])})[0]
    return [int(token) for token in np.asarray(ids).reshape(-1)]
