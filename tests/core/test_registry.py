from __future__ import annotations

import string
from importlib import metadata

import pytest

from trbert_deploy.core.errors import TRBertError
from trbert_deploy.core.registry import Registry, load_object

GROUP = "trbert_deploy.colours"

#: Parts are whatever stands where they say: here, of the standard library.
RED, BLUE, GREEN = "string:digits", "string:hexdigits", "string:octdigits"


@pytest.fixture
def colours() -> Registry[str]:
    return Registry("colour", GROUP, {"red": RED, "blue": BLUE})


@pytest.fixture
def offered(monkeypatch):
    """Entry points of other packages: value by name, in the registries' group."""
    entries: dict[str, str] = {}

    def entry_points(*, group):
        return [metadata.EntryPoint(name, value, group) for name, value in entries.items()] if group == GROUP else []

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    return entries


def test_own_parts_come_first_in_their_order_and_others_by_name(colours, offered):
    assert colours.names() == ["red", "blue"]
    offered |= {"violet": GREEN, "green": GREEN}
    assert colours.names() == ["red", "blue", "green", "violet"]
    assert list(colours) == [string.digits, string.hexdigits, string.octdigits, string.octdigits]
    assert "green" in colours
    assert "yellow" not in colours
    assert None not in colours


def test_names_import_nothing(offered):
    offered["far"] = "no_such_module:PART"
    colours = Registry[str]("colour", GROUP, {"near": "neither_is_this:PART"})
    assert colours.names() == ["near", "far"]
    assert "near" in colours
    assert "far" in colours


def test_a_part_is_imported_once(colours, offered, monkeypatch):
    offered["green"] = GREEN
    assert (colours.get("blue"), colours.get("green")) == (string.hexdigits, string.octdigits)
    offered.clear()
    assert colours.get("green") == string.octdigits


def test_no_package_replaces_a_part_of_ours(colours, offered):
    offered["red"] = GREEN
    assert colours.names() == ["red", "blue"]
    assert colours.get("red") == string.digits


def test_an_unknown_name_is_answered_with_all_that_there_are(colours, offered):
    offered["green"] = GREEN
    with pytest.raises(TRBertError) as caught:
        colours.get("yellow")
    assert caught.value.message == "unknown colour 'yellow'"
    assert caught.value.hint == "one of: red, blue, green"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("no_such_module:PART", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("string:colours", "AttributeError: "),
        ("string:digits.colours", "AttributeError: "),
    ],
)
def test_a_broken_package_is_named_and_breaks_nothing_else(colours, offered, value, why):
    offered |= {"green": GREEN, "broken": value}
    with pytest.raises(TRBertError) as caught:
        colours.get("broken")
    # An entry point without a distribution is named by its value.
    assert caught.value.message.startswith(f"the colour 'broken' of the package {value} cannot be loaded: {why}")
    assert caught.value.hint == f"mend or uninstall {value}"
    assert caught.value.__cause__ is not None
    assert colours.get("green") == string.octdigits
    assert "broken" in colours.names()


def test_a_broken_package_goes_by_its_distribution(colours, offered, monkeypatch, tmp_path):
    info = tmp_path / "broken_colours-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-colours\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nbroken = no_such_module:PART\n")
    (installed,) = metadata.distributions(path=[str(tmp_path)])
    monkeypatch.setattr(metadata, "entry_points", lambda *, group: installed.entry_points.select(group=group))
    with pytest.raises(TRBertError, match="of the package broken-colours cannot be loaded") as caught:
        colours.get("broken")
    assert caught.value.hint == "mend or uninstall broken-colours"


def test_an_object_by_its_reference():
    assert load_object("json.decoder:JSONDecoder").__name__ == "JSONDecoder"


def test_a_part_has_the_name_under_which_it_is_offered(offered):
    registry: Registry[object] = Registry("colour", GROUP, {}, called="__name__")
    offered |= {"capwords": "string:capwords", "words": "string:capwords"}
    assert registry.get("capwords") is string.capwords
    with pytest.raises(TRBertError, match="offers as 'words' calls itself 'capwords'"):
        registry.get("words")
