"""The models that ship with this project, in a distribution of their own: trbert-deploy-models, built from models/."""

from __future__ import annotations

from pathlib import Path

from trbert_deploy.core.errors import CheckpointError

#: What stands for each of them where a checkpoint is asked for, whether it is installed or not.
SHIPPED_MODELS = ("trbert-minilm-imdb",)

#: The one that `bench` measures where no bundle is given.
DEFAULT_MODEL = SHIPPED_MODELS[0]

#: Where they are if this file stands in a clone.
_IN_CLONE = Path(__file__).resolve().parents[1] / "models" / "trbert_deploy_models"


def shipped_folder(name: str) -> Path:
    """The folder of a shipped model, in the clone that this file belongs to or in the installed distribution.

    Args:
        name: one of `SHIPPED_MODELS`.

    Raises:
        CheckpointError: it is in neither.
    """
    if (_IN_CLONE / name / "config.json").is_file():
        return _IN_CLONE / name
    try:
        from trbert_deploy_models import FOLDERS
    except ImportError:
        pass
    else:
        if name in FOLDERS:
            return FOLDERS[name]
    raise CheckpointError(
        f"the model {name} is not installed: it comes with the package trbert-deploy-models",
        "pip install 'trbert-deploy[models]' (from a clone: pip install ./models)",
    )
