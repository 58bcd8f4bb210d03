"""Engines on the PyTorch reference of tiny random models, with a tokenizer of their pieces."""

from __future__ import annotations

import dataclasses

import pytest
from tokenizers import BertWordPieceTokenizer

from trbert_deploy import Engine
from trbert_deploy.bundle import Bundle, GraphFile, Manifest
from trbert_deploy.bundle.manifest import SCHEMA_VERSION, ModelFacts, TokenizerFacts
from trbert_deploy.core.specs import ReductionSpec, TensorSpec
from trbert_deploy.runtimes.torch.reference import ReferenceRuntime

MAX_LENGTH = 64


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory, train_wordpiece):
    """A WordPiece tokenizer of the 120 pieces that the tiny models know."""
    folder = tmp_path_factory.mktemp("tokenizer")
    BertWordPieceTokenizer(str(train_wordpiece(folder, 120, limit_alphabet=36))).save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="session")
def reference_tokenizer(tokenizer_folder):
    from transformers import BertTokenizerFast

    return BertTokenizerFast(vocab=str(tokenizer_folder / "vocab.txt"))


@pytest.fixture(scope="session")
def make_engine(tiny_model, tokenizer_folder):
    """A real engine on the PyTorch reference of a tiny random model."""

    def make_engine(task, *, labels=(), tokenizer=True, **sizes):
        model = tiny_model(task, **sizes)
        backbone = model.config.backbone
        answers = [TensorSpec(output.name, output.axes, "float32") for output in model.spec.outputs]
        reduced = [TensorSpec(name, ("batch",), "int64") for name in ("keep_count", "next_keep_mask")]
        facts = TokenizerFacts(folder=tokenizer_folder.name, onnx=None, max_length=MAX_LENGTH)
        layers = tuple(model.config.reduction_layers)
        masks = [TensorSpec(f"keep_mask_{number}", ("batch",), "int64") for number in range(1, len(layers) + 1)]
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            model=ModelFacts(
                source="tiny",
                source_class=type(model).__name__,
                model_class=type(model).__name__,
                backbone=backbone.model_type,
                num_layers=backbone.num_hidden_layers,
                hidden_size=backbone.hidden_size,
                num_attention_heads=backbone.num_attention_heads,
                intermediate_size=64,
                parameters=1,
                labels=list(labels),
            ),
            task=dataclasses.replace(model.spec, max_length=MAX_LENGTH),
            reduction=ReductionSpec(model.reduction.name, layers, full_length=model.full_length),
            costs=model.costs,
            precision="fp32",
            opset=20,
            stages=[
                *[GraphFile(file="none.onnx", inputs=[], outputs=reduced)] * len(layers),
                GraphFile(file="none.onnx", inputs=[], outputs=answers),
            ],
            fused=GraphFile(file="none.onnx", inputs=[], outputs=answers + masks),
            dense=None,
            tokenizer=facts if tokenizer else None,
            golden="none.json",
            reference=None,
            files={},
            created="2024-01-01T00:00:00+00:00",
            environment={},
        )
        return Engine(Bundle(tokenizer_folder.parent, manifest), ReferenceRuntime(model))

    return make_engine
