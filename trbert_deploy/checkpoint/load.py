"""From a folder or Hub id to the PyTorch reference, strictly: every weight accounted for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trbert_deploy.backbones import BACKBONES
from trbert_deploy.bundle import open_bundle
from trbert_deploy.bundle.manifest import MANIFEST_FILE
from trbert_deploy.bundle.vouching import files_of_folder, require_vouched
from trbert_deploy.checkpoint.foreign import (
    ForeignClass,
    encoder_class,
    foreign_class,
    foreign_config,
    foreign_weights,
)
from trbert_deploy.checkpoint.weights import load_weights, read_weights
from trbert_deploy.core import strict_json
from trbert_deploy.core.errors import CheckpointError, TRBertError, first_line
from trbert_deploy.model import TRBertConfig, TRBertPreTrainedModel, class_named, model_class
from trbert_deploy.shipped_models import SHIPPED_MODELS, shipped_folder
from trbert_deploy.tasks import TASKS

HUB_EXAMPLE = "google-bert/bert-base-uncased"

_MOST_CONFIG_BYTES = 16 * 2**20
_FILE_SUFFIXES = (".bin", ".safetensors", ".onnx", ".pt", ".pth", ".json", ".ckpt", ".h5", ".zip", ".tar", ".gz")


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint.

    Attributes:
        model: in evaluation mode, float32, on the CPU. `model.save_pretrained` writes our own format.
        folder: where it was read from (a cache folder for a Hub id); the tokenizer's files are there too.
        source_class: the class that config.json named.
    """

    model: TRBertPreTrainedModel
    folder: Path
    source_class: str

    @property
    def has_selectors(self) -> bool:
        """Whether the model reduces tokens at all; without selectors it is an ordinary dense BERT."""
        return self.model.num_stages > 1


def load_checkpoint(source: str | Path) -> Checkpoint:
    """Load a TR-BERT checkpoint, or a plain BERT or DistilBERT one in dense form.

    Args:
        source: a folder in our format (`save_pretrained` of a ``TRBertFor...`` class), an upstream TR-BERT folder
            (config.json and pytorch_model.bin), a plain transformers folder with a task head, the folder of an
            exported bundle, a Hub id of any of these, or one of `SHIPPED_MODELS`.

    Raises:
        CheckpointError: it is none of these; keys are missing, unexpected or misshapen (they are named); a Hub id
            cannot be reached; or a shipped model is not installed.
        BundleError: it is a bundle, and damaged.
    """
    folder = folder_of(source)
    raw = read_config(folder)
    name = architecture_of(raw)
    if class_named(name) is not None:
        model = empty_model(raw, name, folder)
        load_weights(model, read_weights(folder), str(folder))
        return Checkpoint(model.eval(), folder, name)
    foreign = foreign_class(name)
    if foreign is None:
        raise _unknown_architecture(folder, name)
    model = empty_model(raw, foreign, folder)
    weights = foreign_weights(read_weights(folder), foreign, model.state_dict().keys())
    load_weights(model, weights, str(folder))
    return Checkpoint(model.eval(), folder, name)


def empty_model(raw: dict[str, Any], described: str | ForeignClass, folder: Path) -> TRBertPreTrainedModel:
    """The model that a config.json describes, with weights yet to be loaded.

    Args:
        raw: the config.json.
        described: one of our classes by name, or one of other origin.
        folder: where it stands, for messages.

    Raises:
        CheckpointError: it describes no model.
    """
    try:
        if isinstance(described, ForeignClass):
            found, config = model_class(described.task), foreign_config(raw, described)
        else:
            own = class_named(described)
            assert own is not None
            found, config = own, TRBertConfig.from_dict(raw)
        _ = config.selection  # refuses budget fractions that do not fit the reductions
        return found(config)
    except TRBertError as error:
        raise CheckpointError(f"{folder / 'config.json'} describes no model: {error.message}", error.hint) from error
    except Exception as error:  # transformers' checks raise many kinds
        raise CheckpointError(
            f"{folder / 'config.json'} describes no model: {type(error).__name__}: {first_line(error)}"
        ) from error


def folder_of(source: str | Path) -> Path:
    """The local folder of a checkpoint: itself, a bundle's, a shipped model's, or a Hub id's, downloaded.

    Raises:
        CheckpointError: there is none.
        BundleError: it is a bundle, and damaged.
    """
    folder = Path(source)
    try:
        is_folder, is_file = folder.is_dir(), folder.is_file()
    except OSError as error:  # a name too long, a drive that is not there
        raise CheckpointError(f"there is no folder {source}: {error.strerror}") from error
    if is_folder:
        return _inside(folder)
    if is_file:
        raise CheckpointError(f"{source} is a file", "give the folder that holds config.json and the weights")
    text = str(source)
    if text in SHIPPED_MODELS:
        return shipped_folder(text)
    why = "check the path" if isinstance(source, Path) else _no_hub_id(text)
    if why:
        raise CheckpointError(f"there is no folder {source}", why)
    return _inside(_download(text))


def _no_hub_id(text: str) -> str:
    """Why a name of nothing on this machine is no model of the Hub's either, as a hint; empty where it may be one.

    The Hub is asked for what its own rules allow, unless the file system has answered: in a folder that is there, what
    is not there is missing.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    parent, _, name = text.rpartition("/")
    try:
        validate_repo_id(text)
    except HFValidationError:
        return f"check the path: of the Hugging Face Hub it cannot be, whose names are like {HUB_EXAMPLE}"
    if name.lower().endswith(_FILE_SUFFIXES):
        return "give the folder that holds config.json and the weights, not one of its files"
    if parent and Path(parent).is_dir():
        return f"{parent} is a folder here, and holds no {name}"
    return ""


def _inside(folder: Path) -> Path:
    """Where in a folder the checkpoint stands: a bundle has it in a folder of its own, and vouches for it."""
    if not (folder / MANIFEST_FILE).is_file():
        return folder
    bundle = open_bundle(folder)
    reference = bundle.manifest.reference
    if reference is None:
        raise CheckpointError(
            f"the bundle {folder} holds no PyTorch checkpoint: it was exported with --no-reference",
            "give the checkpoint that it was made from",
        )
    require_vouched(bundle, files_of_folder(bundle, reference), hashes=True)
    return bundle.path(reference)


def _download(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = ["*.json", "*.safetensors", "pytorch_model*.bin", "vocab.txt"]
    try:
        return Path(snapshot_download(hub_id, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"{hub_id!r} is not a local folder, and the Hugging Face Hub did not give it: {first_line(error)}",
            "check the name and the connection, or give a local folder; what ships with the project is "
            f"{', '.join(SHIPPED_MODELS)}",
        ) from error


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a folder, as it stands.

    Raises:
        CheckpointError: there is none, or it cannot be read.
    """
    file = folder / "config.json"
    try:
        raw = strict_json.read(file, most_bytes=_MOST_CONFIG_BYTES)
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder} is no model: it has no config.json", "give the folder that save_pretrained wrote"
        ) from None
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CheckpointError(f"{file} is not valid JSON: {error}") from error
    if not isinstance(raw, dict):
        raise CheckpointError(f"{file} is not a JSON object")
    return raw


def architecture_of(raw: dict[str, Any]) -> str:
    """The class that a config.json names; empty where it names none."""
    architectures = raw.get("architectures") or [""]
    return str(architectures[0]) if isinstance(architectures, list) else str(architectures)


def _unknown_architecture(folder: Path, name: str) -> CheckpointError:
    if encoder_class(name) is not None:
        return CheckpointError(
            f"{folder} is a bare encoder ({name}): it has no task head and no selectors",
            f"train both: trbert-deploy train {folder} --data FILE --out RUN",
        )
    prefixes = ", ".join(backbone.class_prefix for backbone in BACKBONES)
    endings = ", ".join(task.architecture for task in TASKS if task.transformers)
    return CheckpointError(
        f"{folder / 'config.json'} names the architecture {name or '(none)'!r}, which is not supported",
        f"supported are TRBertFor... and upstream's AUTO... classes, and of transformers {prefixes} with {endings}",
    )
