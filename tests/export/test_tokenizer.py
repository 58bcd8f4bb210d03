"""What a bundle says of its tokenizer, and that a graph which is not the tokenizer's equal is not shipped."""

from __future__ import annotations

import pytest
import tokenizers
from tokenizers import models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from trbert_deploy.export import tokenizer as exported
from trbert_deploy.export.tokenizer import TOKENIZER_GRAPH, write_tokenizer

WORDS = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "a", "b", "ab"]


def fast(model):
    made = tokenizers.Tokenizer(model)
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]", pad_token="[PAD]", model_max_length=20)


@pytest.mark.parametrize(
    ("family", "model"),
    [
        ("wordpiece", models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]")),
        ("bpe", models.BPE({word: i for i, word in enumerate(WORDS)}, [("a", "b")], unk_token="[UNK]")),
        ("unigram", models.Unigram([(word, -1.0) for word in WORDS], unk_id=0)),
        ("wordlevel", models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]")),
    ],
)
def test_the_family_is_what_tokenizer_json_says(tmp_path, family, model):
    facts, remark = write_tokenizer(fast(model), tmp_path, max_length=64)
    assert facts.family == family
    assert (facts.folder, facts.max_length) == ("tokenizer", 20)
    assert (tmp_path / "tokenizer" / "tokenizer.json").is_file()
    if facts.onnx is None:
        assert remark.startswith(f"no {TOKENIZER_GRAPH}: ")
        assert not (tmp_path / TOKENIZER_GRAPH).exists()


def test_the_models_limit_counts_where_it_is_smaller(tmp_path, toy_tokenizer):
    facts, _ = write_tokenizer(toy_tokenizer, tmp_path, max_length=12)
    assert facts.max_length == 12


def test_a_graph_is_written_with_what_it_differs_on(tmp_path, toy_tokenizer, monkeypatch):
    monkeypatch.setattr(exported, "_DELICATE", {"plain words": "word1 word2", "special tokens": "word1 [SEP] word2"})
    facts, remark = write_tokenizer(toy_tokenizer, tmp_path, max_length=64)
    assert facts.onnx == TOKENIZER_GRAPH
    assert facts.onnx_differs_on == ["special tokens"]
    assert remark == f"{TOKENIZER_GRAPH} gives other ids for special tokens"
    ids_of = exported._tokenizer_of((tmp_path / TOKENIZER_GRAPH).read_bytes())
    assert ids_of("word3 word1") == toy_tokenizer("word3 word1")["input_ids"]


def test_a_graph_that_is_wrong_on_what_matters_is_not_written(tmp_path, toy_tokenizer, monkeypatch):
    monkeypatch.setattr(exported, "_ESSENTIAL", ("word1 [SEP] word2",))
    facts, remark = write_tokenizer(toy_tokenizer, tmp_path, max_length=64)
    assert facts.onnx is None
    assert remark == f"no {TOKENIZER_GRAPH}: it would give other ids for 'word1 [SEP] word2'"
    assert not (tmp_path / TOKENIZER_GRAPH).exists()
