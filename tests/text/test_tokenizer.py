import itertools
import json

import numpy as np
import pytest
from tokenizers import BertWordPieceTokenizer

from trbert_deploy.bundle.manifest import TokenizerFacts
from trbert_deploy.calib_data import evaluation_file
from trbert_deploy.core.errors import InputError
from trbert_deploy.core.request import check_request
from trbert_deploy.core.specs import TaskSpec
from trbert_deploy.tasks import TASKS, Limits
from trbert_deploy.text.json_lines import read_json_lines
from trbert_deploy.text.rows import Row, collate
from trbert_deploy.text.tokenizer import BundleTokenizer

REVIEWS = [line["text"] for line in read_json_lines(evaluation_file())][:120]


def spec_of(task, token_types=2) -> TaskSpec:
    return TASKS.get(task).spec(Limits(max_length=128, vocab_size=1500, token_types=token_types))


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory, train_wordpiece):
    """A WordPiece tokenizer of 1,500 pieces trained on the reviews, with misleading stored settings."""
    folder = tmp_path_factory.mktemp("tokenizer")
    made = BertWordPieceTokenizer(str(train_wordpiece(folder, 1500)))
    made.enable_truncation(9)
    made.enable_padding(length=11)
    made.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="session")
def reference(tokenizer_folder):
    """The same vocabulary in transformers' own class."""
    from transformers import BertTokenizerFast

    return BertTokenizerFast(vocab=str(tokenizer_folder / "vocab.txt"))


@pytest.fixture
def make(tokenizer_folder):
    def make(task="sequence-classification", max_length=64, token_types=2, folder=tokenizer_folder):
        facts = None if folder is None else TokenizerFacts(folder=folder.name, onnx=None, max_length=max_length)
        return BundleTokenizer(tokenizer_folder.parent, spec_of(task, token_types), facts)

    return make


@pytest.mark.parametrize("max_length", [3, 64, 101, 128])
def test_texts_as_transformers_tokenizes_them(make, reference, max_length):
    texts = ["", "a", "naïve CAFÉ 日本 \N{GRINNING FACE}\u200b [SEP]", *REVIEWS]
    rows = make(max_length=max_length).encode(texts)
    for text, row in zip(texts, rows, strict=True):
        wanted = reference(text, truncation=True, max_length=max_length)
        assert row.arrays["input_ids"].tolist() == wanted["input_ids"]
        assert row.arrays["token_type_ids"].tolist() == wanted["token_type_ids"]
        assert row.arrays["attention_mask"].tolist() == wanted["attention_mask"]
        assert row.length == len(wanted["input_ids"])
        assert row.truncated == (len(reference(text)["input_ids"]) > max_length)
    assert rows[-1].truncated
    assert not rows[0].truncated


@pytest.mark.parametrize("max_length", [16, 33, 128])
def test_pairs_as_transformers_tokenizes_them(make, reference, max_length):
    sizes = itertools.cycle([(20, 20), (9999, 60), (60, 9999), (9999, 9999), (0, 300), (150, 150)])
    pairs = [(a[:m], b[:n]) for a, b, (m, n) in zip(REVIEWS, REVIEWS[1:], sizes, strict=False)]
    rows = make(max_length=max_length).encode(pairs)
    for (first, second), row in zip(pairs, rows, strict=True):
        wanted = reference(first, second, truncation="longest_first", max_length=max_length)
        assert row.arrays["input_ids"].tolist() == wanted["input_ids"]
        assert row.arrays["token_type_ids"].tolist() == wanted["token_type_ids"]
        assert row.truncated == (len(reference(first, second)["input_ids"]) > max_length)


def test_questions_and_contexts_with_offsets(make, reference):
    items = [(f"What is {a[:20]}?", b[:n]) for a, b, n in zip(REVIEWS, REVIEWS[1:], [30, 400, 9999] * 9, strict=False)]
    for (question, context), row in zip(items, make("question-answering").encode(items), strict=True):
        wanted = reference(question, context, truncation="only_second", max_length=64, return_offsets_mapping=True)
        assert row.arrays["input_ids"].tolist() == wanted["input_ids"]
        sequences = wanted.sequence_ids(0)
        assert row.offsets == [
            offset if sequence == 1 else None
            for offset, sequence in zip(wanted["offset_mapping"], sequences, strict=True)
        ]
        assert row.text == context


def test_offsets_count_characters_not_bytes(make):
    text = "é\N{GRINNING FACE} movie"
    row = make("token-classification").encode([text])[0]
    assert "".join(text[slice(*offset)] for offset in row.offsets if offset) == text.replace(" ", "")
    assert row.offsets[0] is None
    assert row.offsets[-1] is None


def test_a_question_that_leaves_no_room_is_refused(make):
    with pytest.raises(InputError, match=r"item 1: its question take.*no room") as caught:
        make("question-answering", max_length=16).encode([("What?", "This."), ("very " * 20, "This.")])
    assert caught.value.hint


def upstream_choices(reference, context, question, choices, max_length):
    """Upstream's run_mcrace.py, `convert_examples_to_features`, with max_qa_length out of the way."""
    context_tokens, question_tokens = reference.tokenize(context), reference.tokenize(question)
    endings = [question_tokens + reference.tokenize(choice) for choice in choices]
    context_tokens = context_tokens[: max_length - 3 - max(len(ending) for ending in endings)]
    rows = []
    for ending in endings:
        tokens = ["[CLS]", *context_tokens, "[SEP]", *ending, "[SEP]"]
        types = [0] * (len(context_tokens) + 2) + [1] * (len(ending) + 1)
        rows.append((reference.convert_tokens_to_ids(tokens), types))
    return rows, len(context_tokens) + 2 + len(question_tokens)


@pytest.mark.parametrize("max_length", [48, 64, 128])
def test_multiple_choice_is_laid_out_as_upstream_does(make, reference, max_length):
    choices = ["It was good.", "bad", "", "nobody in the whole cinema could tell"]
    for context in [*REVIEWS[:10], "Short.", ""]:
        item = {"context": context, "question": "How was the film?", "choices": choices, "id": 4}
        (row,) = make("multiple-choice", max_length).encode([item])
        wanted, question_end = upstream_choices(reference, context, item["question"], choices, max_length)
        assert row.arrays["question_ends"] == question_end
        assert row.sequences == 4
        for option, (ids, types) in enumerate(wanted):
            real = row.arrays["attention_mask"][option].sum()
            assert row.arrays["attention_mask"][option].tolist() == [1] * real + [0] * (row.length - real)
            assert row.arrays["input_ids"][option, :real].tolist() == ids
            assert row.arrays["token_type_ids"][option, :real].tolist() == types
        assert row.length == max(len(ids) for ids, _ in wanted) <= max_length
        kept = question_end - 2 - len(reference.tokenize(item["question"]))
        assert row.truncated == (len(reference.tokenize(context)) > kept)
        assert row.extras == {"id": 4}


def test_distilbert_rows_have_no_token_types(make):
    rows = make(token_types=0).encode(["a", {"input_ids": [2, 3], "token_type_ids": [0, 0]}])
    assert [sorted(row.arrays) for row in rows] == [["attention_mask", "input_ids"]] * 2


def test_rows_before_a_wrong_item_are_kept_and_items_are_numbered(make):
    items = ["a", "b", {"body": "c"}, "d"]
    rows, failure = make().encode_until_failure(items, first=100)
    assert len(rows) == 2
    assert failure is not None
    assert "item 102" in failure.message
    with pytest.raises(InputError, match="item 2 "):
        make().encode(items)


def test_a_bundle_without_tokenizer_takes_token_ids_only(make):
    tokenizer = make(folder=None)
    assert tokenizer.encode([{"input_ids": [2, 7, 3]}])[0].length == 3
    with pytest.raises(InputError, match="no tokenizer") as caught:
        tokenizer.encode(["a"])
    assert "input_ids" in caught.value.hint


def test_a_foreign_or_broken_tokenizer_is_refused(make, tmp_path, tokenizer_folder):
    broken = tokenizer_folder.parent / f"broken-{tmp_path.name}"
    broken.mkdir()
    (broken / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be read"):
        make(folder=broken)
    plain = json.loads((tokenizer_folder / "tokenizer.json").read_text(encoding="utf-8"))
    plain["post_processor"] = None
    (broken / "tokenizer.json").write_text(json.dumps(plain), encoding="utf-8")
    with pytest.raises(InputError, match="does not lay out a pair"):
        make(folder=broken)


# -- where the texts stand in the row


def assert_texts_stand_at_their_places(row, option, reference):
    ids = row.arrays["input_ids"] if option is None else row.arrays["input_ids"][option]
    picked = range(len(row.texts)) if option is None else (0, 1, 2 + option)
    for text in picked:
        wanted = reference(row.texts[text], add_special_tokens=False)["input_ids"]
        places = row.places[text]
        assert ids[list(places)].tolist() == wanted[: len(places)]
    real = row.arrays["attention_mask"].sum(axis=-1)
    real = int(real if option is None else real[option])
    assert set(range(real)) - {place for text in picked for place in row.places[text]} == {
        place for place in range(real) if ids[place] in (reference.cls_token_id, reference.sep_token_id)
    }


@pytest.mark.parametrize("max_length", [16, 128])
def test_places_of_texts(make, reference, max_length):
    items = ["", "a", REVIEWS[0], ("", ""), ("good", ""), ("", "good"), ("good", REVIEWS[0]), (REVIEWS[0], REVIEWS[1])]
    for item, row in zip(items, make(max_length=max_length).encode(items), strict=True):
        assert row.texts == ((item,) if isinstance(item, str) else item)
        assert_texts_stand_at_their_places(row, None, reference)
    (row,) = make("question-answering", max_length).encode([("who?", REVIEWS[0])])
    assert_texts_stand_at_their_places(row, None, reference)
    item = {"context": REVIEWS[0], "question": "how?", "choices": ["good", "", "very bad"]}
    (row,) = make("multiple-choice", max_length).encode([item])
    for option in range(3):
        assert_texts_stand_at_their_places(row, option, reference)


def test_token_ids_have_no_texts(make):
    (row,) = make().encode([{"input_ids": [2, 7, 3]}])
    assert (row.texts, row.places) == ((), ())


def test_pieces_as_transformers_knows_them(make, reference):
    texts = ["", "naïve CAFÉ 日本 \N{GRINNING FACE}\u200b don't [SEP] unbelievable", REVIEWS[0] * 2]
    for text, pieces in zip(texts, make(max_length=16).pieces(texts), strict=True):
        wanted = reference(text, add_special_tokens=False, return_offsets_mapping=True)
        assert [(piece.start, piece.end) for piece in pieces] == wanted["offset_mapping"]
        assert [piece.word for piece in pieces] == wanted.word_ids(0)


# -- batches


@pytest.mark.parametrize("task", sorted(TASKS.names()))
def test_a_batch_is_a_valid_request_and_every_row_stands_in_it(make, task):
    items = {
        "sequence-classification": ["a movie", ("good", "bad film")],
        "token-classification": ["a movie", "it was good"],
        "question-answering": [("who?", "the man"), ("when was it?", "yesterday or before")],
        "multiple-choice": [
            {"context": "c", "question": "q", "choices": ["x", "y z"]},
            {"context": "c and more", "question": "q", "choices": ["x", "y"]},
        ],
        "hotpot": [
            {"input_ids": [2, 5, 6, 3], "sentence_spans": [[1, 2], [2, 3], [0, 0]]},
            {"input_ids": [2, 5, 6, 7, 3], "sentence_spans": [[1, 3]]},
        ],
        "wikihop": [
            {"input_ids": [2, 5, 6, 3], "candidate_positions": [1]},
            {"input_ids": [2, 5, 6, 7, 3], "candidate_positions": [1, 4]},
        ],
    }[task]
    tokenizer = make(task)
    rows = tokenizer.encode(items)
    batch = collate(rows, spec_of(task))
    check_request(spec_of(task), batch)
    for place, row in enumerate(rows):
        for name, array in row.arrays.items():
            inside = batch[name][(place, *map(slice, array.shape))]
            assert inside.tolist() == array.tolist()
            outside = batch[name][place, ...].copy()
            outside[tuple(map(slice, array.shape))] = -5 if array.ndim else outside
            filling = -1 if name in ("sentence_spans", "candidate_positions") else 0
            assert array.ndim == 0 or set(outside[outside != -5].tolist()) <= {filling}


def test_an_empty_batch_and_mixed_options_are_refused(make):
    with pytest.raises(InputError, match="no row"):
        collate([], spec_of("sequence-classification"))
    rows = make("multiple-choice").encode(
        [{"context": "c", "question": "q", "choices": ["x"] * count} for count in (2, 3)]
    )
    with pytest.raises(InputError, match=r"\[2, 3\] options"):
        collate(rows, spec_of("multiple-choice"))


def test_a_row_of_one_sequence():
    assert Row({"input_ids": np.array([2, 3])}, 2).sequences == 1
