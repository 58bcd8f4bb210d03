"""What matrix products compute in, by name."""

from __future__ import annotations

from typing import Literal, get_args

#: The highest first.
Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

#: How int8 is written, see `trbert_deploy.export.quantize`.
QuantizationForm = Literal["cpu", "tensorrt"]
QUANTIZATION_FORMS: tuple[QuantizationForm, ...] = get_args(QuantizationForm)
