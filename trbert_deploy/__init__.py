"""Put token-reducing BERT (TR-BERT, Ye et al., NAACL 2021) models into production."""

from trbert_deploy._version import __version__
from trbert_deploy.api import Engine, load
from trbert_deploy.core.errors import TRBertError
from trbert_deploy.core.output import EngineOutput
from trbert_deploy.runtimes.options import LoadOptions

__all__ = ["Engine", "EngineOutput", "LoadOptions", "TRBertError", "__version__", "load"]
