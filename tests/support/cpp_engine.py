"""The C++ library's C interface, spoken as another language would."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

import numpy as np


class _Options(ctypes.Structure):
    _fields_ = (
        ("mode", ctypes.c_char_p),
        ("device", ctypes.c_char_p),
        ("threads", ctypes.c_int),
        ("own_pool", ctypes.c_int),
        ("check_sha256", ctypes.c_int),
        ("runtime", ctypes.c_char_p),
        ("provider", ctypes.c_char_p),
        ("provider_library", ctypes.c_char_p),
        ("engines", ctypes.c_char_p),
        ("memory", ctypes.c_char_p),
        ("group_tokens", ctypes.c_int64),
    )


class _Input(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("data", ctypes.POINTER(ctypes.c_int64)),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("rank", ctypes.c_size_t),
    )


class CppError(Exception):
    """A call of the C interface failed; `code` says how."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class CppEngine:
    """The C interface of the shared library, spoken as another language would."""

    def __init__(self, library: ctypes.CDLL, bundle: Path, mode: str = "staged", *, check_sha256: bool = False) -> None:
        self._library = library
        self._engine = ctypes.c_void_p()
        options = _Options(mode.encode(), None, 1, 0, int(check_sha256))
        self._check(library.trbert_load(os.fsencode(bundle), ctypes.byref(options), ctypes.byref(self._engine)))

    def _check(self, code: int) -> None:
        if code:
            raise CppError(code, self._library.trbert_last_error().decode())

    def run(self, inputs: dict[str, Any], outputs: list[str]) -> tuple[dict[str, np.ndarray], list[list[list[int]]]]:
        """The named outputs, and kept positions [reduction][row]."""
        arrays = {name: np.ascontiguousarray(value, dtype=np.int64) for name, value in inputs.items()}
        int64s = ctypes.POINTER(ctypes.c_int64)
        given = (_Input * len(arrays))(
            *(
                _Input(
                    name.encode(),
                    array.ctypes.data_as(int64s),
                    (ctypes.c_int64 * array.ndim)(*array.shape),
                    array.ndim,
                )
                for name, array in arrays.items()
            )
        )
        output = ctypes.c_void_p()
        self._check(self._library.trbert_run(self._engine, given, len(arrays), 1, ctypes.byref(output)))
        try:
            return (
                {name: self._tensor(output, name) for name in outputs},
                list(self._kept(output, len(arrays["input_ids"]))),
            )
        finally:
            self._library.trbert_free_output(output)

    def _tensor(self, output: ctypes.c_void_p, name: str) -> np.ndarray:
        data, shape = ctypes.POINTER(ctypes.c_float)(), ctypes.POINTER(ctypes.c_int64)()
        rank = ctypes.c_size_t()
        references = (ctypes.byref(data), ctypes.byref(shape), ctypes.byref(rank))
        self._check(self._library.trbert_output_tensor(output, name.encode(), *references))
        return np.ctypeslib.as_array(data, shape=tuple(shape[: rank.value])).copy()

    def _kept(self, output: ctypes.c_void_p, rows: int) -> Any:
        positions, count = ctypes.POINTER(ctypes.c_int64)(), ctypes.c_size_t()
        for reduction in range(100):
            whole = []
            for row in range(rows):
                place = (ctypes.c_size_t(reduction), ctypes.c_size_t(row))
                if self._library.trbert_output_kept(output, *place, ctypes.byref(positions), ctypes.byref(count)):
                    return
                whole.append(positions[: count.value])
            yield whole

    def predict(self, json_lines: str | bytes) -> str:
        """JSON lines for JSON lines."""
        raw = json_lines.encode() if isinstance(json_lines, str) else json_lines
        answers = ctypes.c_void_p()
        self._check(self._library.trbert_predict(self._engine, raw, ctypes.byref(answers)))
        try:
            return ctypes.string_at(answers).decode()
        finally:
            self._library.trbert_free_text(answers)

    def verify(self) -> None:
        """Replay the golden vectors."""
        self._check(self._library.trbert_verify(self._engine))

    def close(self) -> None:
        """Free the engine."""
        self._library.trbert_free(self._engine)
        self._engine = ctypes.c_void_p()
