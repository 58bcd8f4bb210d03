"""The parts that vary, by name: those of this package, and those that other packages offer as entry points."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any, Generic, TypeVar, cast

from trbert_deploy.core.errors import TRBertError

Part = TypeVar("Part")


def load_object(reference: str) -> Any:
    """What stands at ``"package.module:name"``; the module is imported now and not before."""
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)


class Registry(Generic[Part]):
    """One kind of part. A part is imported when it is asked for, so that the names cost nothing.

    Another package adds a part by an entry point in `group`, whose name is the part's and whose value is
    ``"package.module:object"``.

    Args:
        kind: for messages, such as ``"task"``.
        group: of the entry points, such as ``"trbert_deploy.tasks"``.
        own: the parts of this package, ``"package.module:object"`` by name, in the order in which they are listed.
        called: the attribute in which a part has its name, where it has one.
    """

    def __init__(self, kind: str, group: str, own: Mapping[str, str], *, called: str = "name") -> None:
        self.kind, self.group = kind, group
        self._called = called
        self._own = dict(own)
        self._loaded: dict[str, Part] = {}

    def names(self) -> list[str]:
        """All names, this package's first."""
        return [*self._own, *(name for name in sorted(self._others()) if name not in self._own)]

    def __contains__(self, name: object) -> bool:
        """Whether there is a part of that name."""
        return name in self._own or name in self._others()

    def __iter__(self) -> Iterator[Part]:
        """The parts, imported."""
        return (self.get(name) for name in self.names())

    def get(self, name: str) -> Part:
        """The part of that name.

        Raises:
            TRBertError: there is none, the package that offers it cannot be imported, or the part has another name.
        """
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def _load(self, name: str) -> Part:
        if name in self._own:
            return cast(Part, load_object(self._own[name]))
        entry = self._others().get(name)
        if entry is None:
            raise TRBertError(f"unknown {self.kind} {name!r}", f"one of: {', '.join(self.names())}")
        source = entry.dist.name if entry.dist is not None else entry.value
        try:
            part = cast(Part, entry.load())
        except Exception as error:  # it is another package's code
            raise TRBertError(
                f"the {self.kind} {name!r} of the package {source} cannot be loaded: {type(error).__name__}: {error}",
                f"mend or uninstall {source}",
            ) from error
        own = getattr(part, self._called, name)
        if own != name:
            raise TRBertError(
                f"the {self.kind} that the package {source} offers as {name!r} calls itself {own!r}",
                "give its entry point the part's own name",
            )
        return part

    def _others(self) -> dict[str, metadata.EntryPoint]:
        return {entry.name: entry for entry in metadata.entry_points(group=self.group)}
