"""Put token-reducing BERT (TR-BERT, Ye et al., NAACL 2021) models into production.

What is named here is imported at its first use: the console script says what it has to say, and heeds Ctrl-C, before
numpy is there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trbert_deploy.core.lazy import imported_at_first_use

if TYPE_CHECKING:
    from trbert_deploy._version import __version__
    from trbert_deploy.api import Engine, load
    from trbert_deploy.core.errors import TRBertError
    from trbert_deploy.core.output import EngineOutput
    from trbert_deploy.runtimes.options import LoadOptions

__all__ = ["Engine", "EngineOutput", "LoadOptions", "TRBertError", "__version__", "load"]

_MODULES = {
    "Engine": "api",
    "EngineOutput": "core.output",
    "LoadOptions": "runtimes.options",
    "TRBertError": "core.errors",
    "__version__": "_version",
    "load": "api",
}
__getattr__ = imported_at_first_use(__name__, _MODULES)


def __dir__() -> list[str]:
    """What is named here, imported or not."""
    return sorted({*globals(), *__all__})
