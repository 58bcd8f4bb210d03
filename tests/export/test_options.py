from __future__ import annotations

from pathlib import Path

import pytest

from trbert_deploy.checkpoint import load_checkpoint
from trbert_deploy.core.attributes import attribute_docs
from trbert_deploy.core.errors import InputError, OptionError, TRBertError
from trbert_deploy.export.exporter import export_bundle
from trbert_deploy.export.options import ExportOptions

CHECKPOINT = Path(__file__).parent.parent / "golden" / "distilbert3-sequence-classification"


def test_every_option_is_described():
    assert list(attribute_docs(ExportOptions)) == list(ExportOptions.__dataclass_fields__)


def test_lists_and_text_are_taken_too():
    options = ExportOptions(keep=[0.4, 0.15], precision="int8", calibration_data="rows.jsonl")
    assert options.keep == (0.4, 0.15)
    assert options.calibration_data == Path("rows.jsonl")
    assert hash(options) == hash(ExportOptions(keep=(0.4, 0.15), precision="int8", calibration_data=Path("rows.jsonl")))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "fp8"}, "unknown precision 'fp8'. one of: fp32, fp16, int8"),
        ({"precision": "int8", "int8_form": "gpu"}, "unknown int8 form 'gpu'. one of: cpu, tensorrt"),
        ({"calibration_data": Path("rows.jsonl")}, "go with --precision int8"),
        ({"fp32_layers": 1}, "go with --precision int8"),
        ({"precision": "fp16", "int8_form": "tensorrt"}, "go with --precision int8"),
    ],
)
def test_what_goes_with_no_model_is_refused_at_once(changes, message):
    with pytest.raises(OptionError, match=message):
        ExportOptions(**changes)


def test_none_is_the_checkpoints_selection_and_empty_is_policy(tiny_model):
    model = tiny_model()
    model.config.keep = [0.5, 0.25]
    assert ExportOptions().selection(model).fractions == (0.5, 0.25)
    assert ExportOptions(keep=()).selection(model).mode == "policy"
    assert ExportOptions(keep=(0.4, 0.4)).selection(model).fractions == (0.4, 0.4)
    with pytest.raises(InputError, match="2 reductions, but 1 keep"):
        ExportOptions(keep=(0.4,)).check(model, has_tokenizer=False)


def test_what_does_not_fit_the_model(tiny_model, tmp_path):
    with pytest.raises(TRBertError, match="leave --with-dense out"):
        ExportOptions(with_dense=True).check(tiny_model(reduction_layers=[]), has_tokenizer=True)
    model = tiny_model()  # of 4 layers
    for layers in (4, -1):
        with pytest.raises(TRBertError, match="--fp32-layers takes 0 to 3"):
            ExportOptions(precision="int8", fp32_layers=layers).check(model, has_tokenizer=True)
    int8 = ExportOptions(precision="int8", fp32_layers=3)
    int8.check(model, has_tokenizer=True)
    with pytest.raises(TRBertError, match="there is no tokenizer"):
        int8.check(model, has_tokenizer=False)
    with pytest.raises(TRBertError, match="task hotpot takes no plain text"):
        int8.check(tiny_model("hotpot"), has_tokenizer=True)
    missing = ExportOptions(precision="int8", calibration_data=tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="does not exist"):
        missing.check(model, has_tokenizer=True)


@pytest.mark.parametrize(
    ("options", "changes", "error"),
    [
        (None, {"with_reference": False}, TypeError),  # there is no such option
        (ExportOptions(precision="int8", fp32_layers=1), {"precision": "fp16"}, OptionError),  # not with the others
        (ExportOptions(with_dense=True), {"keep": [0.5, 0.2]}, InputError),  # the model has one reduction
    ],
)
def test_exporting_takes_an_object_keyword_arguments_and_both(tmp_path, options, changes, error):
    with pytest.raises(error):
        export_bundle(load_checkpoint(CHECKPOINT), tmp_path / "bundle", options, **changes)
    assert list(tmp_path.iterdir()) == []


def test_unknown_options_are_named_with_those_that_there_are(tmp_path):
    with pytest.raises(TypeError, match=r"export_bundle\(\) takes no fp32, mode; it takes keep, with_dense, "):
        export_bundle(load_checkpoint(CHECKPOINT), tmp_path / "bundle", fp32=True, mode="x")
