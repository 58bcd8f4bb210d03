"""`trbert-deploy predict --show-selection` as text: in files, and in colours on a terminal."""

import io
import re
import types
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from shown_selection import SHOWN, TRICKY, plain, sections, squeezed


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
