"""What is refused."""

from __future__ import annotations

from collections.abc import Callable

from trbert_deploy.core.errors import InputError


def refusal(says: str, action: Callable[[], object]) -> str:
    """`says`, where the action is refused with a message that holds it."""
    try:
        action()
    except InputError as error:
        if says in str(error):
            return says
        raise
    raise ValueError(f"not refused: {says}")
