"""The tokenizer of the vectors: few pieces, so that words fall apart and are unknown."""

from __future__ import annotations

import json

from tokenizers import BertWordPieceTokenizer

_PIECES = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *("a", "b", "c", "good", "film", "who", "what", "was", "it", "yes", "no", "the", "cafe"),
    *("##s", "##ed", "##film", "##b", "?", ".", ",", "日", "本"),
]


def text() -> str:
    """tokenizer.json, as the tokenizers library writes it."""
    whole = json.loads(BertWordPieceTokenizer({piece: place for place, piece in enumerate(_PIECES)}).to_str())
    return json.dumps(whole, ensure_ascii=False, indent=1) + "\n"
