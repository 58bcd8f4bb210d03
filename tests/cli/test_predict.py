import contextlib
import io
import json
import os
import re
import subprocess
import sys
import threading
import types
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import trbert_deploy
from trbert_deploy.calib_data import evaluation_file
from trbert_deploy.cli.main import main
from trbert_deploy.text.json_lines import read_json_lines

REVIEWS = list(read_json_lines(evaluation_file()))[:30]


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


def close(found, wanted):
    return (
        len(found) == len(wanted)
        and all(
            one["scores"] == pytest.approx(other["scores"], abs=1e-4) for one, other in zip(found, wanted, strict=True)
        )
        and [dict(one, score=0, scores=0) for one in found] == [dict(one, score=0, scores=0) for one in wanted]
    )


@pytest.mark.parametrize("options", [(), ("--mode", "fused"), ("--runtime", "torch"), ("--batch-size", "4")])
def test_a_file_of_reviews(run, reviews_file, answers, options):
    code, found, stderr = run("--data", reviews_file, *options)
    assert code == 0
    assert close(found, answers)
    assert [answer["id"] for answer in found] == [review["id"] for review in REVIEWS]
    assert len({tuple(answer["kept"]) for answer in found}) > 1, "selection must not be trivial here"
    assert stderr == "", "no progress bar where stderr is no terminal"


def test_texts_as_arguments(run, answers):
    code, found, _ = run(REVIEWS[0]["text"], REVIEWS[1]["text"])
    assert code == 0
    assert close([{"id": answer["id"], **own} for answer, own in zip(answers, found, strict=False)], answers[:2])
    assert all("id" not in own for own in found)


@pytest.mark.parametrize("arguments", [(), ("--data", "-")])
def test_standard_input(run, reviews_file, answers, arguments):
    code, found, _ = run(*arguments, stdin=reviews_file.read_bytes())
    assert code == 0
    assert close(found, answers)


def test_pairs(run):
    code, (pair, single), _ = run(stdin=b'{"text": "good", "text_pair": "bad film"}\n{"text": "good"}\n')
    assert code == 0
    assert pair["token_count"] > single["token_count"] + 1


def test_out_is_written_whole(run, reviews_file, answers, tmp_path):
    out = tmp_path / "answers.jsonl"
    code, found, _ = run("--data", reviews_file, "--out", out)
    assert code == 0
    assert found == []
    assert close(list(read_json_lines(out)), answers)
    before = out.read_bytes()
    code, _, stderr = run("--data", reviews_file, "--out", out)
    assert code == 1
    assert "--force" in stderr
    reviews_file.write_text('{"text": "a"}\nbroken\n', encoding="utf-8")
    code, _, stderr = run("--data", reviews_file, "--out", out, "--force")
    assert code == 1
    assert "line 2" in stderr
    assert out.read_bytes() == before, "a failed run leaves the old answers"
    reviews_file.write_text('{"text": "a"}\n', encoding="utf-8")
    assert run("--data", reviews_file, "--out", out, "--force")[0] == 0
    assert len(list(read_json_lines(out))) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.jsonl", "reviews.jsonl"]


@pytest.mark.parametrize("out", ["none/answers.jsonl", "."])
def test_out_that_cannot_be_written(run, tmp_path, out):
    code, _, stderr = run("a text", "--out", tmp_path / out)
    assert code == 1
    assert "error:" in stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("out", "options", "hint"),
    [
        ("answers.parquet", (), "answers.jsonl; known endings are .jsonl, .json"),
        ("answers.CSV", (), "known endings are .jsonl, .json"),
        ("answers.html", (), "known endings are .jsonl, .json"),
        ("page.jsonl", ("--show-selection",), "page.html; known endings are .html, .htm, .txt"),
        ("page.pdf", ("--show-selection",), "known endings are .html, .htm, .txt"),
    ],
)
def test_a_name_that_promises_another_form_is_refused(run_raw, tmp_path, out, options, hint):
    code, stdout, stderr = run_raw("a text", "--out", tmp_path / out, *options)
    assert (code, stdout) == (1, "")
    assert f"promises something else\nhint: --out {tmp_path}/" in stderr
    assert hint in stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("out", "options"), [("a.JSON", ()), ("answers", ()), ("a.htm", ("--show-selection",))])
def test_known_endings_are_taken(run_raw, tmp_path, out, options):
    assert run_raw("a text", "--out", tmp_path / out, *options)[0] == 0
    assert (tmp_path / out).stat().st_size > 0


@pytest.fixture
def breaking(monkeypatch):
    """Makes the model give no number for rows of so many tokens."""
    run = trbert_deploy.Engine.run

    def break_rows(length, value):
        def broken(self, **inputs):
            output = run(self, **inputs)
            output["logits"][inputs["attention_mask"].sum(-1) == length] = value
            return output

        monkeypatch.setattr(trbert_deploy.Engine, "run", broken)

    return break_rows


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_output_that_is_no_number_is_an_error_that_names_the_item(run, breaking, value, tmp_path):
    lines = [{"id": number, "input_ids": [2, *range(5, 5 + number), 3]} for number in range(8)]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    breaking(7, value)
    code, found, stderr = run("--data", data, "--batch-size", "3")
    assert code == 1
    assert [answer["id"] for answer in found] == [0, 1, 2, 3, 4], "all before it are answered"
    assert f"error: {data}, line 6: the model's output logits is not finite" in stderr
    assert "hint: check the bundle on this machine: trbert-deploy verify" in stderr
    code, _, stderr = run("--data", data, "--out", tmp_path / "out.jsonl")
    assert code == 1
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_not_handed_through(run, number):
    code, found, stderr = run(stdin=b'{"id": 1, "text": "a"}\n{"id": ' + number.encode() + b', "text": "b"}\n')
    assert code == 1
    assert [answer["id"] for answer in found] == [1]
    assert "line 2 is not JSON that can be read" in stderr
    assert number.strip("-") in stderr


def test_what_no_json_can_say_is_an_error():
    from trbert_deploy.cli.output import json_text
    from trbert_deploy.core.errors import TRBertError

    assert json_text({"a": [1.5, None]}, "this") == '{"a": [1.5, null]}'
    for value in (float("nan"), float("inf")):
        with pytest.raises(TRBertError, match=r"^this holds a number that is not finite"):
            json_text({"a": [value]}, "this")


def test_a_broken_line_is_named_after_the_answers_before_it(run, reviews_file, answers):
    with reviews_file.open("a", encoding="utf-8") as file:
        file.write('\n{"text": "cut\n{"text": "after"}\n')
    code, found, stderr = run("--data", reviews_file)
    assert code == 1
    assert close(found, answers)
    assert f"{reviews_file}, line 32 is not valid JSON" in stderr
    assert "hint:" in stderr


def test_an_item_that_is_not_understood_is_named_by_its_line(run, reviews_file):
    reviews_file.write_text('{"text": "a"}\n\n{"review": "b"}\n', encoding="utf-8")
    code, found, stderr = run("--data", reviews_file)
    assert code == 1
    assert len(found) == 1
    assert "line 3 has the keys review" in stderr
    assert "text_pair" in stderr


@pytest.mark.parametrize(
    ("arguments", "stdin", "what"),
    [((), None, "no input"), ((), b"\n\n", "no input"), (("a", "--data", "-"), b"{}", "not both")],
)
def test_no_input_and_two_inputs_are_usage_errors(run, arguments, stdin, what):
    code, found, stderr = run(*arguments, stdin=stdin)
    assert code == 2
    assert found == []
    assert what in stderr


def test_missing_file_and_no_bundle(run, tmp_path):
    code, _, stderr = run("--data", tmp_path / "none.jsonl")
    assert code == 1
    assert "does not exist" in stderr
    code, _, stderr = run("a", folder=tmp_path)
    assert code == 1
    assert "is not a bundle" in stderr


def test_an_empty_file_has_no_answers(run, tmp_path):
    (tmp_path / "empty.jsonl").touch()
    assert run("--data", tmp_path / "empty.jsonl")[:2] == (0, [])


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_the_progress_bar_stays_on_stderr(bundle, reviews_file):
    terminal, stderr = os.openpty()
    shown = bytearray()

    def read():  # beside the command, which would stop at a full terminal
        with contextlib.suppress(OSError):  # the other end is closed and everything has been read
            while part := os.read(terminal, 65536):
                shown.extend(part)

    reader = threading.Thread(target=read)
    reader.start()
    start = "from trbert_deploy.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", start, "predict", str(bundle), "--data", str(reviews_file)],
        stdout=subprocess.PIPE,
        stderr=stderr,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
        timeout=120,
        check=False,
    )
    os.close(stderr)
    reader.join()
    os.close(terminal)
    assert done.returncode == 0
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == [review["id"] for review in REVIEWS]
    assert b"30/" in shown
    assert b'"scores"' not in shown


# -- --show-selection

TRICKY = "Café d\u00e9j\u00e0-vu, nai\u0308ve: <b>bold</b> & [bold]not[/bold] [/] :smile: 100%"
SHOWN = [
    "A good film.",
    TRICKY,
    REVIEWS[0]["text"],
    ("It was not unbelievable", "but <i>it</i> was"),
    (REVIEWS[1]["text"], "Was it?"),
]


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


def squeezed(text):
    """Without spaces, and without the accent that the tokenizer gives to no word."""
    return "".join(text.replace("\u0308", "").split())


def plain(words):
    """How words with their fates are shown without colours, squeezed."""
    made, previous = "", None
    unread = sum(fate == "unread" for _, fate in words)
    for word, fate in words:
        if fate == "kept":
            made += word
        elif fate != previous:
            made += "·" if fate == "dropped" else f"[{unread}word{'s' * (unread > 1)}notread]"
        previous = fate
    return squeezed(made)


def sections(shown):
    """The texts of an item's reductions, from (heading, text, text...) blocks."""
    items = []
    for block in re.split(r"^(?=(?:item|id) .*: label)", shown, flags=re.MULTILINE)[1:]:
        headline, *reductions = re.split(r"^(?=before layer \d+: )", block.rstrip("\n"), flags=re.MULTILINE)
        split = [reduction.rstrip("\n").split("\n", 1) for reduction in reductions]
        items.append((headline.strip(), [(heading, text.split("\n---\n")) for heading, text in split]))
    return items


@pytest.fixture
def shown_file(tmp_path):
    path = tmp_path / "shown.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number, item in enumerate(SHOWN):
            texts = (item,) if isinstance(item, str) else item
            file.write(json.dumps({"id": f"t{number}", **dict(zip(("text", "text_pair"), texts, strict=False))}) + "\n")
    return path


@pytest.mark.parametrize("options", [(), ("--mode", "fused"), ("--batch-size", "1")])
def test_show_selection_without_colours(run, run_raw, shown_file, fates, options):
    code, shown, stderr = run_raw("--data", shown_file, "--show-selection", *options)
    assert (code, stderr) == (0, "")
    assert "\x1b" not in shown
    _, answers, _ = run("--data", shown_file)
    assert len(answers) == len(sections(shown)) == len(SHOWN)
    for answer, (headline, reductions), wanted in zip(answers, sections(shown), fates, strict=True):
        assert headline == f'id "{answer["id"]}": label "{answer["label"]}", score {answer["score"]:.4g}'
        assert [heading for heading, _ in reductions] == [
            f"before layer {layer}: {kept} of {answer['token_count']} tokens go on"
            for layer, kept in zip((1, 2), answer["kept"], strict=True)
        ]
        assert [[squeezed(text) for text in texts] for _, texts in reductions] == [
            [plain(words) for words in texts] for texts in wanted
        ]
    found = {fate for item in fates for texts in item for words in texts for _, fate in words}
    assert found == {"kept", "dropped", "unread"}, "all three must be here"


def test_show_selection_of_arguments_and_to_a_text_file(run_raw, tmp_path, fates):
    code, shown, _ = run_raw(SHOWN[0], TRICKY, "--show-selection")
    assert code == 0
    assert [headline.partition(":")[0] for headline, _ in sections(shown)] == ["item 0", "item 1"]
    (_, (text,)) = sections(shown)[1][1][0]
    assert squeezed(text) == plain(fates[1][0][0])
    out = tmp_path / "shown.txt"
    assert run_raw(SHOWN[0], TRICKY, "--show-selection", "--out", out)[:2] == (0, "")
    assert out.read_text(encoding="utf-8") == shown


def styled(console_text):
    """Terminal output as (text, codes) parts."""
    parts = re.split(r"\x1b\[([\d;]*)m", console_text)
    codes = ["", *parts[1::2]]
    return [(text, code) for text, code in zip(parts[::2], codes, strict=True) if text]


@pytest.mark.parametrize("no_color", [False, True])
def test_show_selection_on_a_terminal(run_raw, monkeypatch, fates, no_color):
    terminal = io.StringIO()
    console = Console(
        file=terminal, force_terminal=True, color_system="standard", no_color=no_color, soft_wrap=True, highlight=False
    )
    monkeypatch.setattr("trbert_deploy.cli.show_selection.stdout", console)
    assert run_raw(TRICKY, "--show-selection")[0] == 0
    parts = styled(terminal.getvalue())
    wanted = [word for texts in fates[1] for words in texts for word in words]
    kept = squeezed("".join(word for word, fate in wanted if fate == "kept"))
    dropped = squeezed("".join(word for word, fate in wanted if fate == "dropped"))
    assert squeezed("".join(text for text, code in parts if code == "1")).endswith(kept)
    assert squeezed("".join(text for text, code in parts if code == "2")) == ("" if no_color else dropped)
    assert ("·" in terminal.getvalue()) == no_color


class Page(HTMLParser):
    """The text of a page, in all and by the class of its span; and its tags."""

    def __init__(self, html):
        super().__init__()
        self.text, self.by_class, self.tags, self.open = "", {}, set(), [None]
        self.feed(html[html.index("<pre") : html.index("</body>")].rstrip())

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.open.append(dict(attributes).get("class"))

    def handle_endtag(self, tag):
        self.open.pop()

    def handle_data(self, data):
        self.text += data
        self.by_class[self.open[-1]] = self.by_class.get(self.open[-1], "") + data


@pytest.mark.parametrize("no_color", ["", "1"])
def test_show_selection_as_a_page(run_raw, monkeypatch, shown_file, fates, tmp_path, no_color):
    monkeypatch.setenv("NO_COLOR", no_color)
    out = tmp_path / "shown.html"
    assert run_raw("--data", shown_file, "--show-selection", "--out", out) == (0, "", "")
    html = out.read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=|@import|url\(", html), "the page needs nothing else"
    page = Page(html)
    assert page.tags <= {"pre", "span"}, "a text's own tags are no tags"
    for item, (_, reductions) in zip(SHOWN, sections(page.text), strict=True):
        for _, texts in reductions:
            for text, own in zip(texts, (item,) if isinstance(item, str) else item, strict=True):
                read, unread, _ = re.fullmatch(r"(.*?)(\[\d+ words not read\](.*))?", text, re.DOTALL).groups()
                assert own.startswith(read.rstrip()) if unread else own == text, "what was dropped can still be read"
    words = [word for item in fates for texts in item for words in texts for word in words]
    (struck,) = re.findall(r"\.(r\d+) \{[^}]*line-through", html)
    dropped = squeezed("".join(word for word, fate in words if fate == "dropped"))
    assert squeezed(page.by_class[struck]) == dropped
    (bold,) = re.findall(r"\.(r\d+) \{font-weight: bold\}", html)
    kept = squeezed("".join(word for word, fate in words if fate == "kept"))
    assert squeezed(page.by_class[bold]) == kept


@pytest.mark.parametrize("ending", ["html", "txt"])
def test_a_broken_line_leaves_the_old_page(run_raw, reviews_file, tmp_path, ending):
    out = tmp_path / f"shown.{ending}"
    out.write_text("old", encoding="utf-8")
    code, _, stderr = run_raw("a", "--show-selection", "--out", out)
    assert code == 1
    assert "--force" in stderr
    reviews_file.write_text('{"text": "a"}\nbroken\n', encoding="utf-8")
    code, _, stderr = run_raw("--data", reviews_file, "--show-selection", "--out", out, "--force")
    assert code == 1
    assert "line 2" in stderr
    assert out.read_text(encoding="utf-8") == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["reviews.jsonl", out.name]


def test_show_selection_refuses_token_ids_after_the_items_before_them(run_raw):
    code, shown, stderr = run_raw("--show-selection", stdin=b'{"text": "a film"}\n{"input_ids": [2, 7, 3]}\n')
    assert code == 1
    assert len(sections(shown)) == 1
    assert "line 2 is token ids, which have no words to show" in stderr
    assert "sequence-classification" in stderr


def test_show_selection_where_nothing_is_reduced(run_raw):
    code, shown, _ = run_raw("a film", "--show-selection", "--runtime", "torch", "--mode", "dense")
    assert code == 0
    assert re.search(r"\n\nno reduction: all \d+ tokens go through every layer\n$", shown)


def test_control_characters_do_not_reach_the_terminal(run_raw):
    code, shown, _ = run_raw("a \x1b[31mred\x1b[0m \x9bfilm\x07", "--show-selection")
    assert code == 0
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown)


@pytest.mark.parametrize(
    ("prediction", "headline"),
    [
        ({"score": -1.25}, "item 0: score -1.25"),
        ({"labels": ["a", "c"], "scores": {"a": 0.5}}, 'item 0: labels ["a", "c"]'),
        ({"scores": {"a": 0.5, "b": -2.0}}, 'item 0: scores {"a": 0.5, "b": -2.0}'),
        (
            {"answer": "two\nlines", "start": 0, "end": 9, "start_token": 1, "end_token": 2, "score": 0.123456},
            r'item 0: answer "two\nlines", score 0.1235',
        ),
        ({"choice": 1, "text": "b", "scores": [0.25, 0.75]}, 'item 0: choice 1, text "b", score 0.75'),
        (
            {"tokens": [{"text": text, "label": "O", "score": 0.5} for text in ("two", "lines")]},
            'item 0: "two" O 0.5, "lines" O 0.5',
        ),
    ],
)
def test_headlines_of_other_tasks(prediction, headline):
    from trbert_deploy.cli.show_selection import write
    from trbert_deploy.text.prediction import Predicted
    from trbert_deploy.text.rows import Row
    from trbert_deploy.text.tokenizer import Piece

    row = Row({}, 4, texts=("two\nlines",), places=(range(1, 3),))
    engine = types.SimpleNamespace(
        tokenizer=types.SimpleNamespace(pieces=lambda texts: [[Piece(0, 0, 3), Piece(1, 4, 9)]]),
        manifest=types.SimpleNamespace(reduction=types.SimpleNamespace(layers=[3])),
    )
    stream = io.StringIO()
    write(engine, [Predicted(row, prediction, [np.array([0, 2])])], stream, Path("shown.txt"))
    assert stream.getvalue() == f"{headline}\n\nbefore layer 3: 2 of 4 tokens go on\n·\nlines\n"
