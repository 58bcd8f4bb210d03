from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from trbert_deploy.bundle import folder as folder_module
from trbert_deploy.bundle.folder import clear_abandoned, room_for, whole_file, whole_folder
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


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        Exception("Error while serializing: I/O error: No space left on device (os error 28)"),  # as Rust says it
        ValueError("File too large (os error 27)"),
    ],
)
def test_a_full_disk_is_said_to_be_full_whoever_found_out(tmp_path, error):
    def fail(writing):
        with writing:
            raise error

    for writing in (
        room_for(tmp_path / "out"),
        whole_folder(tmp_path / "out", force=False, replaceable=lambda _: False),
    ):
        with pytest.raises(TRBertError, match=r"there is no room to write .*out: "):
            fail(writing)
    assert names(tmp_path) == []


@pytest.mark.parametrize("error", [PermissionError(13, "no"), ValueError("(os error 2)"), ValueError("something else")])
def test_other_errors_are_not_about_room(tmp_path, error):
    def fail():
        with room_for(tmp_path / "out"):
            raise error

    with pytest.raises(type(error)) as caught:
        fail()
    assert caught.value is error


# -- several writers -----------------------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from trbert_deploy.bundle.folder import whole_file, whole_folder
parent, name, times = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
for time in range(times):
    with whole_folder(parent / "out", force=True, replaceable=lambda folder: True) as folder:
        for part in range(3):
            (folder / str(part)).write_text(f"{name} {time}")
    with whole_file(parent / "file") as file:
        file.write_text(f"{name} {time}")
"""


def test_four_writers_into_one_place_at_once(tmp_path):
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, tmp_path, name, "25"], stderr=subprocess.PIPE, text=True)
        for name in "abcd"
    ]
    assert [writer.communicate()[1] for writer in writers] == [""] * 4
    assert names(tmp_path) == ["file", "out"]
    (content,) = {(tmp_path / "out" / str(part)).read_text() for part in range(3)}
    assert content.endswith(" 24")


def test_what_a_killed_writer_of_a_file_left_is_cleared_by_the_next(tmp_path):
    file = tmp_path / "answers.jsonl"
    killed = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os, sys; from pathlib import Path; from trbert_deploy.bundle.folder import whole_file\n"
            "with whole_file(Path(sys.argv[1])) as partial:\n"
            "    partial.write_text('half'); os.kill(os.getpid(), 9)",
            file,
        ],
        check=False,
    )
    assert killed.returncode == -9
    assert len(names(tmp_path)) == 2  # what it wrote, and that it was at it
    others = [".answers.jsonl.partial-of-another-tool", ".other.jsonl.partial-0123456789ab"]
    for other in others:
        (tmp_path / other).touch()
    with whole_file(file) as partial:
        partial.write_text("whole")
    assert names(tmp_path) == [*others, file.name]


def test_what_is_left_of_any_target_in_a_folder(tmp_path):
    for token, name in (("0" * 12, "a.engine"), ("1" * 12, "b.engine"), ("2" * 12, "b.engine")):
        (tmp_path / f".{name}.partial-{token}").touch()
    (tmp_path / ".b.engine.writing-111111111111").touch()
    with whole_file(tmp_path / "c.engine") as living:
        living.touch()
        clear_abandoned(tmp_path)
        assert living.exists()
    assert names(tmp_path) == ["c.engine"]


def test_a_writer_that_does_not_give_way_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_module, "PATIENCE", 0.1)
    with (
        FileLock(tmp_path / ".out.turn"),
        pytest.raises(TRBertError, match=r"another process is putting .*out in its place"),
    ):
        write(tmp_path / "out", "new")


def test_a_file_in_a_folder_that_is_not_there(tmp_path):
    def fail():
        with whole_file(tmp_path / "nowhere" / "file"):
            pass

    with pytest.raises(FileNotFoundError, match="there is no folder"):
        fail()
    assert names(tmp_path) == []
