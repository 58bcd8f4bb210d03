"""The errors users meet: one base class, whose message says what is wrong and whose hint says how to mend it."""

from __future__ import annotations

from collections.abc import Sequence


def first_line(error: BaseException) -> str:
    """The first line of what another library says: some add a page of advice."""
    return str(error).strip().partition("\n")[0]


def shortened(text: str, most: int = 80) -> str:
    """A text for a message, cut where it is so long that nobody would read it."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)"


class TRBertError(Exception):
    """Something the user can mend.

    Attributes:
        message: what is wrong.
        hint: what to do about it, an exact command where there is one; may be empty.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message}. {hint}" if hint else message)
        self.message = message
        self.hint = hint


class MissingExtraError(TRBertError, ImportError):
    """An optional dependency is not installed; the hint is the pip command that installs it."""


class CheckpointError(TRBertError):
    """A model folder, Hub id or weight file cannot be used as a TR-BERT checkpoint."""


class BundleError(TRBertError):
    """A bundle is missing, incomplete, corrupt, or of an unknown version.

    Attributes:
        damage: a sentence for each file that is not as it should be; where it is not about files, the message.
    """

    def __init__(self, message: str, hint: str = "", damage: Sequence[str] = ()) -> None:
        super().__init__(message, hint)
        self.damage = list(damage) or [message]


class OptionError(TRBertError, ValueError):
    """Options that do not go together, or one that is none of its values: on the command line, wrong usage."""


class InputError(TRBertError, ValueError):
    """What was given to an engine does not fit the model."""


class DeviceError(TRBertError, RuntimeError):
    """A device or provider was asked for that this machine does not offer, or it failed."""


class CheckFailedError(TRBertError):
    """What was exported does not reproduce the PyTorch reference."""
