"""How a checkpoint is exported: declared once, for `export_bundle` and for the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from trbert_deploy.core.errors import OptionError, TRBertError
from trbert_deploy.core.flags import flag
from trbert_deploy.core.precision import PRECISIONS, QUANTIZATION_FORMS, Precision, QuantizationForm

if TYPE_CHECKING:  # torch and numpy, which a command line that starts does without
    from trbert_deploy.core.selection import Selection
    from trbert_deploy.model import TRBertPreTrainedModel


@dataclass(frozen=True)
class ExportOptions:
    """How a checkpoint is exported.

    Attributes:
        keep: budget mode: fractions of the original length kept at each reduction, rounded up to tokens, such as 0.4
            and 0.15; empty for policy mode, where a row keeps what the scores say; None for what the checkpoint says.
        with_dense: export the same weights without reduction too, to compare.
        reference: put the PyTorch checkpoint into the bundle; `bench` and runtime ``"torch"`` need it.
        precision: ``"fp32"``; ``"fp16"``: typed float16 graphs, for GPUs; ``"int8"``: Q/DQ graphs, calibrated per stage
            on the tokens that reach it. Selection is decided in float32 in every precision.
        calibration_data: int8: JSON lines such as the model will see, as `predict` takes them; about 100 are used. By
            default the movie reviews that ship with the package, where the task takes plain text.
        int8_form: int8: ``"cpu"`` for ONNX Runtime on CPUs, ``"tensorrt"`` for TensorRT. Neither is fast, or taken at
            all, where the other belongs.
        fp32_layers: int8: so many layers stay in float32, those that were measured to suffer most.
        force: replace a bundle that is there already.

    Raises:
        OptionError: a value is none that there is, or belongs to another precision.
    """

    keep: tuple[float, ...] | None = field(default=None, metadata=flag(metavar="0.4,0.15"))
    with_dense: bool = False
    reference: bool = True
    precision: Precision = "fp32"
    calibration_data: Path | None = field(default=None, metadata=flag(metavar="FILE"))
    int8_form: QuantizationForm = "cpu"
    fp32_layers: int = field(default=0, metadata=flag(minimum=0))
    force: bool = False

    def __post_init__(self) -> None:
        """See what does not depend on the model; fractions may be a list, and a path text."""
        if self.keep is not None:
            object.__setattr__(self, "keep", tuple(self.keep))
        if self.calibration_data is not None:
            object.__setattr__(self, "calibration_data", Path(self.calibration_data))
        if self.precision not in PRECISIONS:
            raise OptionError(f"unknown precision {self.precision!r}", f"one of: {', '.join(PRECISIONS)}")
        if self.int8_form not in QUANTIZATION_FORMS:
            raise OptionError(f"unknown int8 form {self.int8_form!r}", f"one of: {', '.join(QUANTIZATION_FORMS)}")
        of_int8 = self.calibration_data is not None or self.fp32_layers or self.int8_form != "cpu"
        if of_int8 and self.precision != "int8":
            raise OptionError("--calibration-data, --int8-form and --fp32-layers go with --precision int8")

    def selection(self, model: TRBertPreTrainedModel) -> Selection:
        """How the bundle selects.

        Raises:
            InputError: the fractions do not fit the model.
        """
        from trbert_deploy.core.selection import Selection

        return model.config.selection if self.keep is None else Selection.of(self.keep, model.num_stages - 1)

    def check(self, model: TRBertPreTrainedModel, has_tokenizer: bool) -> None:
        """Say what does not fit the model before anything is traced.

        Raises:
            TRBertError: it has no selectors to leave out, no layer would be quantized, or there are no rows to
                calibrate with.
            InputError: the fractions do not fit, or the data cannot be found.
        """
        self.selection(model)
        if self.with_dense and model.num_stages == 1:
            raise TRBertError("the checkpoint has no selectors: its bundle is dense already", "leave --with-dense out")
        if self.precision != "int8":
            return
        layers = len(model.encoder_layers)
        if not 0 <= self.fp32_layers < layers:
            raise TRBertError(
                f"{self.fp32_layers} layers were to stay in float32, but the model has {layers}",
                f"--fp32-layers takes 0 to {layers - 1}; for float32 throughout leave --precision out",
            )
        from trbert_deploy.export.calibration_rows import require_rows

        require_rows(model.spec, has_tokenizer, self.calibration_data)
