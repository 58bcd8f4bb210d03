"""The bundle: what `export` writes and everything else reads."""

from trbert_deploy.bundle.manifest import SCHEMA_VERSION, GraphFile, Manifest
from trbert_deploy.bundle.reader import Bundle, open_bundle

__all__ = ["SCHEMA_VERSION", "Bundle", "GraphFile", "Manifest", "open_bundle"]
