"""The C++ tokenizer gives the token ids and offsets of Hugging Face's, for every code point and for nasty strings."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from tokenizers import AddedToken, BertWordPieceTokenizer, Tokenizer
from tokenizers.normalizers import BertNormalizer, Lowercase
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import BertProcessing, RobertaProcessing

from trbert_deploy.calib_data import evaluation_file
from trbert_deploy.text.json_lines import read_json_lines

CPP = Path(__file__).parents[2] / "runtimes" / "cpp"
REVIEWS = [line["text"] for line in read_json_lines(evaluation_file())]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

# Every kind of normalizer: the uncased and cased checkpoints, accents kept, and nothing done at all.
NORMALIZERS = {
    "uncased": BertNormalizer(),
    "cased": BertNormalizer(lowercase=False),
    "accents kept": BertNormalizer(strip_accents=False),
    "stripped but cased": BertNormalizer(strip_accents=True, lowercase=False),
    "raw": BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False),
    "raw but stripped": BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=True),
}

SMALL = {piece: index for index, piece in enumerate([*SPECIAL, "a", "##a"])}

NASTY = [
    "",
    " ",
    "\x00",
    "a\x00b\ufffdc\ufeff",
    "[CLS] a [SEP] b [MASK][PAD][UNK]",
    "[cls] [ SEP ] [SEP [SE[SEP]] [[SEP]",
    "x[SEP]y é[SEP]\u0301",
    "naïve café Ångström e\u0301\u0323\u0315 \u0344 \u0958",
    "İstanbul GROẞ ǅ ﬁn Σας ΣΑΣ Привет ЁЛКА",
    "日本語と中文字符 한국어 각각 \u1100\u1161\u11a8 がガ ㍿ 𠀀𪜀𫝀",
    "emoji 😀👩\u200d👩\u200d👧 🏳️\u200d🌈 👍🏽 🇩🇪 ©️",
    "zero\u200bwidth\u200c \u200d\u2060 soft\u00adhyphen \u202eright to left\u202c",
    "tabs\tnew\nlines\r\n\x0b\x0c\x85\u2028\u2029\u00a0\u3000\u1680\u180e",
    "עִבְרִית العَرَبِيَّة हिन्दी ไทย ཀྵ",
    "a" * 99 + " " + "b" * 100 + " " + "c" * 101 + " " + "é" * 100 + " " + "e\u0301" * 101,
    "A" * 5000,
    "\u0301" * 300 + "x",
    "\U000e0001\U000e0041 \U0010ffff \ue000 \U000f0000",
    "\u302e\u0301\U0001d165\u302f\U0001d16e\U00016ff0",
    "#hash ##ing ## a##b",
]


def nasty_strings(count):
    """Pieces of text of many kinds, thrown together; always the same."""
    rng = random.Random(2021)
    assigned = [code for code in range(0x30000) if unicodedata.category(chr(code)) not in ("Cs", "Cn")]
    marks = [code for code in assigned if unicodedata.combining(chr(code))]
    blocks = [range(start, start + 0x80) for start in range(0, 0x3400, 0x80)]
    whites = " \t\n\r\x0b\x0c\x85\xa0\u2003\u2028\u3000"

    def piece():
        kind = rng.randrange(10)
        if kind < 3:
            words = rng.choice(REVIEWS).split()
            start = rng.randrange(len(words))
            return " ".join(words[start : start + rng.randrange(1, 12)])
        if kind == 3:
            return "".join(chr(rng.choice(rng.choice(blocks))) for _ in range(rng.randrange(1, 9)))
        if kind == 4:
            return "".join(chr(rng.choice(assigned)) for _ in range(rng.randrange(1, 6)))
        if kind == 5:
            return rng.choice("aeiouxÅΩ한か") + "".join(chr(rng.choice(marks)) for _ in range(rng.randrange(1, 5)))
        if kind == 6:
            return rng.choice(whites) * rng.randrange(1, 3)
        if kind == 7:
            return rng.choice([*SPECIAL, "[SEP", "CLS]", "[mask]", "[", "]"])
        if kind == 8:
            return rng.choice(["a", "é", "ß", "字", "😀"]) * rng.choice([1, 50, 99, 100, 101])
        return rng.choice(NASTY)

    glue = ["", "", " "]
    return [rng.choice(glue).join(piece() for _ in range(rng.randrange(1, 8))) for _ in range(count)]


def every_code_point():
    """Each in the middle of a word and behind a mark, 64 to a string; of long runs of like ones, a few."""
    long_runs = [range(0x3410, 0xD7A0), range(0xE010, 0xF8F0), range(0x17000, 0x18D00), range(0x20010, 0xE0000)]
    long_runs += [range(0xE0200, 0x10FFF0)]
    codes = [
        code
        for code in range(0x110000)
        if not 0xD800 <= code < 0xE000 and (code % 97 == 0 or not any(code in run for run in long_runs))
    ]
    assert len(codes) > 70_000
    return [
        " ".join(f"a{chr(code)}b \u0345{chr(code)}" for code in codes[start : start + 64])
        for start in range(0, len(codes), 64)
    ]


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory, train_wordpiece):
    """Pieces of English, and most characters by themselves, so that a wrong character is a wrong id and not [UNK]."""
    trained = train_wordpiece(tmp_path_factory.mktemp("vocabulary"), 1500)
    pieces = set(trained.read_text(encoding="utf-8").splitlines()) - set(SPECIAL)
    for code in range(0x1F700):
        character = chr(code)
        ideograph = 0x3400 <= code <= 0xD7FF or 0x12000 <= code < 0x1D000
        if (ideograph and code % 97) or unicodedata.category(character) in ("Cs", "Co", "Cn"):
            continue
        pieces |= {character, "##" + character}
    return {piece: index for index, piece in enumerate([*SPECIAL, *sorted(pieces)])}


@pytest.fixture
def make(vocabulary, tmp_path):
    """Writes a tokenizer.json like those of BERT checkpoints; to be refused, one with few pieces."""

    def make(pieces=vocabulary, **parts):
        tokenizer = BertWordPieceTokenizer(pieces)._tokenizer
        for name, part in parts.items():
            setattr(tokenizer, name, part)
        tokenizer.enable_truncation(9)  # what the file stores of these is not used
        tokenizer.enable_padding(length=11)
        path = tmp_path / "tokenizer.json"
        tokenizer.save(str(path))
        return path

    return make


@pytest.fixture
def tokenize(cpp):
    """Runs the C++ tokenizer: tokens as [id, start, end], and the ids of [CLS] and [SEP]."""

    def tokenize(path, texts):
        lines = "".join(json.dumps(text, ensure_ascii=False) + "\n" for text in texts)
        result = subprocess.run([cpp.tokenize_lines, path], input=lines.encode(), capture_output=True, check=False)
        assert result.returncode == 0, result.stderr.decode()
        *tokens, ends = map(json.loads, result.stdout.splitlines())
        return tokens, ends

    return tokenize


def wanted(path, texts):
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return [
        [[index, *offsets] for index, offsets in zip(encoding.ids, encoding.offsets, strict=True)]
        for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)
    ]


def ids(rows):
    return [[token[0] for token in row] for row in rows]


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_nasty_and_real_strings(make, tokenize, normalizer):
    path = make(normalizer=NORMALIZERS[normalizer])
    texts = [*NASTY, *REVIEWS, *nasty_strings(5000 if normalizer == "uncased" else 1000)]
    given, ends = tokenize(path, texts)
    assert ends == [2, 3]
    for text, one, other in zip(texts, given, wanted(path, texts), strict=True):
        assert one == other, repr(text)


@pytest.mark.parametrize("normalizer", ["uncased", "accents kept"])
def test_every_code_point(make, tokenize, normalizer):
    """The other normalizers do less; the tables themselves are compared below."""
    path = make(normalizer=NORMALIZERS[normalizer])
    texts = every_code_point()
    given, _ = tokenize(path, texts)
    for text, one, other in zip(texts, ids(given), ids(wanted(path, texts)), strict=True):
        assert one == other, ascii(text)


def test_the_tables_are_those_of_the_installed_tokenizers(tmp_path):
    """A release of tokenizers that knows a newer Unicode fails here: run the script again, and look what changed."""
    script = CPP / "scripts" / "unicode_tables.py"
    subprocess.run([sys.executable, script, tmp_path / "tables"], check=True)

    def tables(path):
        return path.read_text(encoding="utf-8").partition("\n")[2]  # without the line that names the release

    assert tables(tmp_path / "tables") == tables(CPP / "src" / "text" / "unicode_tables.inc")


def test_other_layouts_and_settings(make, tokenize, vocabulary):
    tokenizer = {
        "post_processor": BertProcessing(("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"])),
    }
    path = make(**tokenizer)
    changed = json.loads(path.read_text(encoding="utf-8"))
    changed["model"] |= {"max_input_chars_per_word": 5, "continuing_subword_prefix": ""}
    changed["added_tokens"].append(changed["added_tokens"][0] | {"id": len(vocabulary), "content": "[SEP]x"})
    path.write_text(json.dumps(changed), encoding="utf-8")
    texts = ["a[SEP]xy z[SEP] cinema film", *NASTY]
    given, ends = tokenize(path, texts)
    assert given == wanted(path, texts)
    assert ends == [vocabulary["[CLS]"], vocabulary["[SEP]"]]
    assert len(vocabulary) in ids(given)[0]  # the longest that fits


def change(path, edit):
    whole = json.loads(path.read_text(encoding="utf-8"))
    edit(whole)
    path.write_text(json.dumps(whole), encoding="utf-8")


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ({"normalizer": Lowercase()}, "normalizer"),
        ({"pre_tokenizer": Whitespace()}, "pre_tokenizer"),
        ({"post_processor": RobertaProcessing(("[SEP]", 3), ("[CLS]", 2))}, "post_processor"),
    ],
)
def test_what_would_not_be_exact_is_refused(make, cpp, parts, named):
    result = subprocess.run([cpp.tokenize_lines, make(SMALL, **parts)], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert f"would not be reproduced exactly: its {named}" in result.stderr


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda whole: whole["model"].update(type="BPE"), "its model"),
        (lambda whole: whole["model"].update(unk_token="nothing"), "has no nothing"),
        (lambda whole: whole["model"]["vocab"].update({"a": "x"}), "an integer is wanted"),
        (lambda whole: whole.pop("model"), "key 'model' not found"),
        (lambda whole: whole["post_processor"].update(type="TemplateProcessing", pair=[]), "template"),
        (lambda whole: whole["added_tokens"][0].update(id=7), "of two ids"),
        *[
            (lambda whole, kind=kind: whole["added_tokens"][0].update({kind: True}), f"({kind})")
            for kind in ("normalized", "single_word", "lstrip", "rstrip")
        ],
    ],
)
def test_files_that_cannot_be_used_are_refused(make, cpp, edit, message):
    path = make(SMALL)
    change(path, edit)
    result = subprocess.run([cpp.tokenize_lines, path], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert message in result.stderr


def test_added_tokens_that_are_special_are_found(make, tokenize):
    path = make()
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.add_special_tokens([AddedToken("<Ünit>", normalized=False), AddedToken("字", normalized=False)])
    tokenizer.save(str(path))
    texts = ["a <Ünit>b <ünit> x字y"]
    assert tokenize(path, texts)[0] == wanted(path, texts)
