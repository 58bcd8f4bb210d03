from __future__ import annotations

from pathlib import Path

import pytest

from trbert_deploy.bundle.folder import whole_file, whole_folder
from trbert_deploy.core.errors import TRBertError


def write(out: Path, text: str, force: bool = False) -> None:
    with whole_folder(out, force=force, replaceable=lambda folder: (folder / "ours").exists()) as folder:
        (folder / "ours").write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def out(tmp_path) -> Path:
    folder = tmp_path / "parent" / "out"
    write(folder, "old")
    return folder


def test_a_failing_block_leaves_what_was_there(out):
    def fail():
        with whole_folder(out, force=True, replaceable=lambda folder: True) as folder:
            (folder / "ours").write_text("new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (out / "ours").read_text() == "old"
    assert names(out.parent) == ["out"]


def test_a_failing_rename_puts_the_old_folder_back(out, monkeypatch):
    rename = Path.rename

    def fail(self, target):
        if ".partial-" in self.name:
            raise PermissionError(13, "no")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(TRBertError, match="cannot be written: no"):
        write(out, "new", force=True)
    assert (out / "ours").read_text() == "old"
    assert names(out.parent) == ["out"]


def test_a_writer_killed_between_the_renames_is_undone_by_the_next(out):
    out.rename(out.parent / ".out.retired-0123456789ab")
    (out.parent / ".out.partial-0123456789ab").mkdir()
    (out.parent / ".out.writing-0123456789ab").touch()
    with pytest.raises(TRBertError, match="--force"):
        write(out, "new")
    assert (out / "ours").read_text() == "old"
    assert names(out.parent) == ["out"]


def test_a_living_writer_is_left_alone_even_in_this_process(tmp_path):
    out = tmp_path / "out"
    with whole_folder(out, force=False, replaceable=lambda folder: False) as folder:
        (folder / "ours").write_text("first")
        write(out, "second")
        assert (folder / "ours").read_text() == "first"
        (out / "ours").unlink()
        out.rmdir()
    assert (out / "ours").read_text() == "first"


def test_a_link_keeps_pointing_at_its_folder(out):
    link = out.parent / "link"
    link.symlink_to(out)
    write(link, "new", force=True)
    assert link.is_symlink()
    assert (out / "ours").read_text() == "new"


def test_the_current_folder_is_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TRBertError, match="current folder"):
        write(Path(), "new")
    assert names(tmp_path) == []


def test_a_parent_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(TRBertError, match="cannot be written"):
        write(tmp_path / "file" / "out", "new")


def test_a_file_takes_its_place_when_it_is_whole(tmp_path):
    file = tmp_path / "file"
    for text in ("first", "second"):
        with whole_file(file) as partial:
            partial.write_text(text)
            assert partial.parent == tmp_path  # so that the rename is atomic
        assert file.read_text() == text
    assert names(tmp_path) == ["file"]


def test_a_file_whose_block_fails_is_as_it_was(tmp_path):
    file = tmp_path / "file"
    file.write_text("old")

    def fail():
        with whole_file(file) as partial:
            partial.write_text("half")
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        fail()
    assert file.read_text() == "old"
    assert names(tmp_path) == ["file"]
