import collections
import random

import pytest

from trbert_deploy.calib_data import calibration_file, evaluation_file
from trbert_deploy.text.json_lines import read_json_lines


@pytest.mark.parametrize(
    ("path", "part", "per_label"), [(calibration_file(), "train", 150), (evaluation_file(), "test", 200)]
)
def test_reviews_are_balanced_and_from_the_right_part(path, part, per_label):
    reviews = list(read_json_lines(path))
    assert collections.Counter(review["label"] for review in reviews) == {0: per_label, 1: per_label}
    for review in reviews:
        assert list(review) == ["id", "text", "label"]
        folder, sentiment, name = review["id"].split("/")
        assert folder == part
        assert sentiment == ("pos" if review["label"] else "neg")
        stars = int(name.partition("_")[2])
        assert stars >= 7 if review["label"] else stars <= 4
        assert len(review["text"].split()) > 5


def test_no_review_is_in_both_files_or_twice():
    texts = [review["text"] for path in (calibration_file(), evaluation_file()) for review in read_json_lines(path)]
    assert len(set(texts)) == len(texts) == 700


def test_labels_are_mixed():
    labels = [review["label"] for review in read_json_lines(evaluation_file())]
    assert labels != sorted(labels)
    assert 60 <= sum(labels[:200]) <= 140, "the first half alone must serve as a smaller set"


def test_readme_snippet_draws_balanced_and_repeatably(tmp_path, monkeypatch):
    # The snippet is run as it stands, on files of the same form: what people copy must work.
    readme = (calibration_file().parent / "README.md").read_text(encoding="utf-8")
    snippet = readme.partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir(tmp_path)
    lines = [review for path in (calibration_file(), evaluation_file()) for review in path.open(encoding="utf-8")]
    drawn = []
    for seed in (1, 2):  # the order of the source's lines must not matter
        random.Random(seed).shuffle(lines)
        for name in ("train.jsonl", "test_half.jsonl"):
            (tmp_path / name).write_text("".join(lines), encoding="utf-8")
        exec(compile(snippet, "README.md", "exec"), {})
        drawn.append((tmp_path / "imdb_calibration.jsonl").read_text(encoding="utf-8"))
        labels = [row["label"] for row in read_json_lines(tmp_path / "imdb_evaluation.jsonl")]
        assert collections.Counter(labels) == {0: 200, 1: 200}
    assert drawn[0] == drawn[1]
