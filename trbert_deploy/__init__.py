"""Put token-reducing BERT (TR-BERT, Ye et al., NAACL 2021) models into production."""

from trbert_deploy._version import __version__

__all__ = ["__version__"]
