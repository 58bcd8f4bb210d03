"""`trbert-deploy predict --show-selection` as a page."""

import re
from html.parser import HTMLParser

import pytest
from shown_selection import SHOWN, sections, squeezed


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
