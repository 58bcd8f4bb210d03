"""The verb `predict` on a tiny random classifier, and what the library itself answers and keeps."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import types

import pytest
from predicted import REVIEWS
from shown_selection import SHOWN

import trbert_deploy
from trbert_deploy.cli.main import main


@pytest.fixture(scope="session")
def bundle(text_bundle):
    """A tiny random classifier with a real tokenizer."""
    return text_bundle("sequence-classification")


@pytest.fixture(scope="session")
def answers(bundle):
    """What the library answers to the reviews, one by one, on the PyTorch reference."""
    with trbert_deploy.load(bundle, runtime="torch") as engine:
        return [engine.predict([review])[0] for review in REVIEWS]


@pytest.fixture
def run_raw(monkeypatch, capsys, bundle):
    """Runs the verb on the bundle: exit code, stdout, stderr."""

    def run(*arguments, stdin=None, folder=bundle):
        monkeypatch.setattr(sys, "argv", ["trbert-deploy", "predict", str(folder), *map(str, arguments)])
        fake = types.SimpleNamespace(buffer=io.BytesIO(stdin or b""), isatty=lambda: stdin is None)
        monkeypatch.setattr(sys, "stdin", fake)
        monkeypatch.setattr("trbert_deploy.cli.main.heeding_signals", contextlib.nullcontext)  # they are pytest's
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return ended.value.code or 0, printed.out, printed.err

    return run


@pytest.fixture
def run(run_raw):
    """Runs the verb on the bundle: exit code, answers on stdout, stderr."""

    def run(*arguments, **options):
        code, stdout, stderr = run_raw(*arguments, **options)
        return code, [json.loads(line) for line in stdout.splitlines()], stderr

    return run


@pytest.fixture
def reviews_file(tmp_path):
    path = tmp_path / "reviews.jsonl"
    path.write_text("".join(json.dumps(review) + "\n" for review in REVIEWS), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def fates(bundle):
    """For each of SHOWN and each reduction, the words of each text as (characters, fate).

    Tokenized by transformers, and selected by the engine with each row alone.
    """
    from transformers import BertTokenizerFast

    reference = BertTokenizerFast.from_pretrained(str(bundle / "tokenizer"))
    wanted = []
    with trbert_deploy.load(bundle, runtime="torch") as engine:
        limit = engine.manifest.task.max_length
        for item in SHOWN:
            texts = (item,) if isinstance(item, str) else item
            cut = reference(*texts, truncation="longest_first", max_length=limit)
            row = {name: [cut[name]] for name in ("input_ids", "token_type_ids")}
            selection = engine.run(return_selection=True, **row).selection
            wanted.append([_fates_of_words(reference, texts, cut, set(kept[0].tolist())) for kept in selection])
    return wanted


def _fates_of_words(reference, texts, cut, kept):
    shown = []
    for number, text in enumerate(texts):
        read = [place for place, sequence in enumerate(cut.sequence_ids(0)) if sequence == number]
        whole = reference(text, add_special_tokens=False)
        words = []
        for word in dict.fromkeys(whole.word_ids(0)):
            tokens = [token for token, own in enumerate(whole.word_ids(0)) if own == word]
            places = [read[token] for token in tokens if token < len(read)]
            characters = whole.word_to_chars(0, word)
            fate = "unread" if not places else "kept" if kept & set(places) else "dropped"
            words.append((text[characters.start : characters.end], fate))
        shown.append(words)
    return shown


@pytest.fixture
def shown_file(tmp_path):
    path = tmp_path / "shown.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number, item in enumerate(SHOWN):
            texts = (item,) if isinstance(item, str) else item
            file.write(json.dumps({"id": f"t{number}", **dict(zip(("text", "text_pair"), texts, strict=False))}) + "\n")
    return path
