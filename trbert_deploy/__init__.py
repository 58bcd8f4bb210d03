"""Put token-reducing BERT (TR-BERT, Ye et al., NAACL 2021) models into production."""

from trbert_deploy._version import __version__
from trbert_deploy.api import Engine, EngineOutput, load
from trbert_deploy.core.errors import TRBertError

__all__ = ["Engine", "EngineOutput", "TRBertError", "__version__", "load"]
