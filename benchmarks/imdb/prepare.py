"""The reviews that the shipped model was trained and measured on, from the dataset's own archive.

    curl -O https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz
    python benchmarks/imdb/prepare.py aclImdb_v1.tar.gz --out data/

Writes train.jsonl, the 25,000 official training reviews, and validation.jsonl, half of the official test reviews, in
the order of the ids in the .xz files beside this script: lines with `id` (the review's file in the archive), `label`
(1 positive, 0 negative) and `text`. What is written is compared with its sha256.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import lzma
import sys
import tarfile
from pathlib import Path

SHA256 = {
    "train": "fd8b820e8e9eeb17f03afad4b5d89cf2153cac390483a08a33b8747e237a4f74",
    "validation": "1a429248b4357a59d76b4f2decd8afb08b1e095827694d998d228493fb14d100",
}
_IDS = Path(__file__).parent


def read_archive(archive: Path) -> dict[str, str]:
    """All labelled reviews of aclImdb_v1.tar.gz, by ids such as ``test/pos/0_10``."""
    texts = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            parts = member.name.removesuffix(".txt").split("/")
            if len(parts) == 4 and parts[2] in ("pos", "neg") and (file := tar.extractfile(member)):
                texts["/".join(parts[1:])] = file.read().decode()
    return texts


def lines_of(split: str, texts: dict[str, str]) -> bytes:
    """One of the two files.

    Raises:
        KeyError: the archive lacks a review.
    """
    ids = lzma.decompress((_IDS / f"{split}.ids.xz").read_bytes()).decode().split()
    rows = ({"id": name, "label": int("/pos/" in name), "text": texts[name]} for name in ids)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def main() -> None:
    """Read, write, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    try:
        texts = read_archive(options.archive)
        files = {split: lines_of(split, texts) for split in SHA256}
    except (OSError, tarfile.TarError) as error:
        sys.exit(f"error: {options.archive} cannot be read: {error}")
    except KeyError as missing:
        sys.exit(f"error: {options.archive} is not aclImdb_v1.tar.gz: it lacks {missing}")
    for split, content in files.items():
        if hashlib.sha256(content).hexdigest() != SHA256[split]:
            sys.exit(f"error: the {split} reviews in {options.archive} are not the published ones")
    options.out.mkdir(parents=True, exist_ok=True)
    for split, content in files.items():
        (options.out / f"{split}.jsonl").write_bytes(content)
        print(options.out / f"{split}.jsonl")


if __name__ == "__main__":
    main()
