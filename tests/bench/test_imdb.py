"""benchmarks/imdb/prepare.py: the training data, made from the dataset's archive."""

import hashlib
import importlib.util
import io
import json
import lzma
import sys
import tarfile
from pathlib import Path

import pytest

from trbert_deploy.calib_data import calibration_file, evaluation_file
from trbert_deploy.training.data import read_examples

FOLDER = Path(__file__).parents[2] / "benchmarks" / "imdb"
TEXTS = {
    "train/pos/1_9": "Good.<br />Really good.",
    "train/neg/0_1": 'Bad, "bad" \u2028 naïve.',
    "train/neg/7_2": "Worse.",
    "test/pos/0_10": "Fine.",
    "test/neg/3_4": "Not fine.",
}
EXPECTED = {"train": ["train/neg/7_2", "train/pos/1_9", "train/neg/0_1"], "validation": ["test/neg/3_4"]}


@pytest.fixture
def prepare():
    spec = importlib.util.spec_from_file_location("prepare", FOLDER / "prepare.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def archive(tmp_path):
    return write_archive(tmp_path / "aclImdb_v1.tar.gz", TEXTS)


def write_archive(path, texts):
    others = {"README": "read me", "train/unsup/0_0.txt": "unlabelled", "train/pos.txt": "urls", "imdb.vocab": "the"}
    files = {f"{name}.txt": text for name, text in texts.items()} | others
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            content = text.encode()
            info = tarfile.TarInfo(f"aclImdb/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def expect(prepare, monkeypatch, folder, ids):
    """Have the script want these reviews in place of the published ones."""
    folder.mkdir()
    hashes = {}
    for split, names in ids.items():
        (folder / f"{split}.ids.xz").write_bytes(lzma.compress("".join(f"{name}\n" for name in names).encode()))
        rows = [{"id": name, "label": int("pos" in name), "text": TEXTS[name]} for name in names]
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        hashes[split] = hashlib.sha256(lines.encode()).hexdigest()
    monkeypatch.setattr(prepare, "_IDS", folder)
    monkeypatch.setattr(prepare, "SHA256", hashes)


def call(prepare, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["prepare.py", *map(str, arguments)])
    prepare.main()


def test_writes_both_files_in_the_order_of_the_ids(prepare, archive, tmp_path, monkeypatch):
    expect(prepare, monkeypatch, tmp_path / "ids", EXPECTED)
    call(prepare, monkeypatch, archive, "--out", tmp_path / "data")
    for split, names in EXPECTED.items():
        file = tmp_path / "data" / f"{split}.jsonl"
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
        assert [row["id"] for row in rows] == names
        assert [row["text"] for row in rows] == [TEXTS[name] for name in names]
    examples = read_examples(tmp_path / "data" / "train.jsonl", None)
    assert examples.labels.tolist() == [0, 1, 0]


def test_refuses_another_archive(prepare, tmp_path, monkeypatch):
    expect(prepare, monkeypatch, tmp_path / "ids", EXPECTED)
    out = tmp_path / "data"
    incomplete = {name: text for name, text in TEXTS.items() if name != "train/pos/1_9"}
    for name, texts, message in (
        ("incomplete", incomplete, "it lacks 'train/pos/1_9'"),
        ("changed", TEXTS | {"train/pos/1_9": "Good?"}, "the train reviews in .* are not the published ones"),
    ):
        archive = write_archive(tmp_path / name, texts)
        with pytest.raises(SystemExit, match=message):
            call(prepare, monkeypatch, archive, "--out", out)
    with pytest.raises(SystemExit, match="cannot be read"):
        call(prepare, monkeypatch, tmp_path / "nowhere.tar.gz", "--out", out)
    (tmp_path / "text").write_text("not an archive")
    with pytest.raises(SystemExit, match="cannot be read"):
        call(prepare, monkeypatch, tmp_path / "text", "--out", out)
    assert not out.exists()


def test_published_ids(prepare):
    ids = {
        split: lzma.decompress((FOLDER / f"{split}.ids.xz").read_bytes()).decode().split() for split in prepare.SHA256
    }
    assert {split: len(set(names)) for split, names in ids.items()} == {"train": 25_000, "validation": 12_500}
    assert {name.split("/")[0] for name in ids["train"]} == {"train"}
    assert {name.split("/")[0] for name in ids["validation"]} == {"test"}
    for split, file in (("train", calibration_file()), ("validation", evaluation_file())):
        with file.open(encoding="utf-8") as lines:
            assert {json.loads(line)["id"] for line in lines} <= set(ids[split])
