from __future__ import annotations

import pytest
from transformers import BertTokenizerFast

from trbert_deploy.checkpoint.tokenizer import load_tokenizer
from trbert_deploy.core.errors import CheckpointError

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "film", "##s", "Good"]


@pytest.fixture
def vocabulary(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return tmp_path


def test_none_where_there_is_none(tmp_path):
    assert load_tokenizer(tmp_path) is None


def test_from_vocab_txt_alone_as_upstream_writes_it(vocabulary):
    tokenizer = load_tokenizer(vocabulary)
    assert tokenizer("a Good films")["input_ids"] == [2, 5, 6, 7, 8, 3]  # lower case by default
    assert tokenizer.is_fast


def test_saved_by_transformers(vocabulary, tmp_path):
    out = tmp_path / "saved"
    BertTokenizerFast.from_pretrained(str(vocabulary), do_lower_case=False).save_pretrained(out)
    assert load_tokenizer(out)("Good films")["input_ids"] == [2, 9, 7, 8, 3]


@pytest.mark.parametrize("config", [False, True])
def test_broken_files(tmp_path, config):
    (tmp_path / "tokenizer.json").write_text("{")
    if config:
        (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizerFast"}')
    with pytest.raises(CheckpointError, match=r"tokenizer in .* cannot be read"):
        load_tokenizer(tmp_path)
