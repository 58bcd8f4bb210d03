import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import BertWordPieceTokenizer

from trbert_deploy.bundle.manifest import TokenizerFacts
from trbert_deploy.calib_data import evaluation_file
from trbert_deploy.tasks import TASKS, Limits
from trbert_deploy.text.json_lines import read_json_lines
from trbert_deploy.text.selection_view import Fate, Run, runs, view
from trbert_deploy.text.tokenizer import BundleTokenizer, Piece

REVIEWS = [line["text"] for line in read_json_lines(evaluation_file())][:20]
MAX_LENGTH = 32


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory, train_wordpiece):
    folder = tmp_path_factory.mktemp("tokenizer")
    BertWordPieceTokenizer(str(train_wordpiece(folder, 200, limit_alphabet=36))).save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="session")
def reference(tokenizer_folder):
    from transformers import BertTokenizerFast

    return BertTokenizerFast(vocab=str(tokenizer_folder / "vocab.txt"))


@pytest.fixture(scope="session")
def make(tokenizer_folder):
    def make(task="sequence-classification"):
        spec = TASKS.get(task).spec(Limits(max_length=MAX_LENGTH, vocab_size=200, token_types=2))
        facts = TokenizerFacts(folder=tokenizer_folder.name, onnx=None, max_length=MAX_LENGTH)
        return BundleTokenizer(tokenizer_folder.parent, spec, facts)

    return make


def positions(*kept):
    return np.array(kept, dtype=np.int64)


TEXT = "  A movies, good film. "
PIECES = [
    Piece(0, 2, 3),
    Piece(1, 4, 7),
    Piece(1, 7, 10),
    Piece(2, 10, 11),
    Piece(3, 12, 16),
    Piece(4, 17, 21),
    Piece(5, 21, 22),
]


@pytest.mark.parametrize(
    ("kept", "read", "wanted"),
    [
        (
            (0, 3, 5),  # the second half of "movies" keeps the word
            7,
            [
                Run("  "),
                Run("A", Fate.DROPPED, 1),
                Run(" "),
                Run("movies", Fate.KEPT, 1),
                Run(",", Fate.DROPPED, 1),
                Run(" "),
                Run("good", Fate.KEPT, 1),
                Run(" "),
                Run("film.", Fate.DROPPED, 2),
                Run(" "),
            ],
        ),
        ((0,), 7, [Run("  "), Run("A movies, good film.", Fate.DROPPED, 6), Run(" ")]),
        (tuple(range(9)), 7, [Run("  "), Run("A movies, good film.", Fate.KEPT, 6), Run(" ")]),
        (
            (0, 1, 3),  # the row ends within "movies", of which nothing was kept
            2,
            [
                Run("  "),
                Run("A", Fate.KEPT, 1),
                Run(" "),
                Run("movies", Fate.DROPPED, 1),
                Run(", good film.", Fate.UNREAD, 4),
                Run(" "),
            ],
        ),
        ((0,), 0, [Run("  "), Run("A movies, good film.", Fate.UNREAD, 6), Run(" ")]),
    ],
)
def test_runs(kept, read, wanted):
    assert runs(TEXT, PIECES, range(1, 1 + read), positions(*kept)) == wanted


def test_a_text_without_words_is_what_is_between_words():
    assert runs("", [], range(1, 1), positions(0)) == []
    assert runs(" \n", [], range(1, 1), positions(0)) == [Run(" \n")]


@pytest.mark.parametrize("text", ["cafe\u0301 bad", "caf\u00e9 bad", "cafe\x07 bad", "cafe\u200b bad"])
def test_what_the_tokenizer_strips_goes_with_its_word(make, text):
    (pieces,) = make().pieces([text])
    cafe = len([piece for piece in pieces if piece.word == 0])
    made = runs(text, pieces, range(1, 1 + len(pieces)), positions(*range(1 + cafe, 1 + len(pieces))))
    assert made == [Run(text[:-4], Fate.DROPPED, 1), Run(" "), Run("bad", Fate.KEPT, 1)]


ALPHABET = st.sampled_from("ab Zé.,'\u0301日\n\t\x07\N{GRINNING FACE}<[") | st.characters(exclude_categories=["Cs"])


@given(st.text(ALPHABET, max_size=40), st.data())
def test_runs_are_the_text_and_fates_are_the_tokens_own(make, reference, text, data):
    tokenizer = make()
    (row,) = tokenizer.encode([text])
    kept = data.draw(st.sets(st.integers(0, row.length - 1)))
    (made,) = view(row, tokenizer.pieces(row.texts), [positions(*sorted(kept))], [1])
    assert (made.layer, made.kept, made.tokens) == (1, len(kept), row.length)
    (own,) = made.texts
    assert "".join(run.text for run in own) == text
    encoded = reference(text, add_special_tokens=False, return_offsets_mapping=True)
    fate_of = [run.fate for run in own for _ in run.text]
    words = {}
    for number, word in enumerate(encoded.word_ids(0)):
        read = number < MAX_LENGTH - 2
        words.setdefault(word, []).append((read, read and number + 1 in kept))
    for number, word in enumerate(encoded.word_ids(0)):
        read, survives = map(any, zip(*words[word], strict=True))
        wanted = Fate.KEPT if survives else Fate.DROPPED if read else Fate.UNREAD
        assert set(fate_of[slice(*encoded["offset_mapping"][number])]) == {wanted}
    assert sum(run.words for run in own) == len(words)


def surviving(runs):
    return " ".join("".join(run.text if run.fate is Fate.KEPT else " " for run in runs).split())


def test_a_pair_and_two_reductions(make, reference):
    pair = ("Was it good?", "It was bad, really.")
    tokenizer = make()
    (row,) = tokenizer.encode([pair])
    encoded = reference(*pair)
    first = [place for place, kind in enumerate(encoded.sequence_ids(0)) if kind == 0]
    second = [place for place, kind in enumerate(encoded.sequence_ids(0)) if kind == 1]
    made = view(row, tokenizer.pieces(pair), [positions(0, *first, second[0]), positions(0, second[0])], [1, 6])
    assert [(one.layer, one.kept, one.tokens) for one in made] == [
        (1, 2 + len(first), len(encoded["input_ids"])),
        (6, 2, len(encoded["input_ids"])),
    ]
    assert [[surviving(text) for text in one.texts] for one in made] == [["Was it good?", "It"], ["", "It"]]


def test_a_context_that_was_cut_and_the_question_after_it(make):
    tokenizer = make("multiple-choice")
    item = {"context": REVIEWS[0], "question": "Was it good?", "choices": ["no", "", "it was"]}
    (row,) = tokenizer.encode([item])
    (made,) = view(row, tokenizer.pieces(row.texts), [np.arange(int(row.arrays["question_ends"]), row.length)], [1])
    context, question, *choices = made.texts
    assert [run.fate for run in context if run.fate is not None] == [Fate.DROPPED, Fate.UNREAD]
    assert [(run.text, run.fate) for run in question] == [("Was it good?", Fate.DROPPED)]
    assert [surviving(choice) for choice in choices] == ["no", "", "it was"]


def test_no_reduction_has_nothing_to_show(make):
    (row,) = make().encode(["a"])
    assert view(row, make().pieces(row.texts), [], [1, 6]) == []
