"""The bundle: what `export` writes and everything else reads."""

from trbert_deploy.bundle.manifest import SCHEMA_VERSION, Graph, Manifest
from trbert_deploy.bundle.reader import Bundle, open_bundle

__all__ = ["SCHEMA_VERSION", "Bundle", "Graph", "Manifest", "open_bundle"]
