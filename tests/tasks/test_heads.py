"""The heads against numpy loops; what is absent scores as upstream's zero matrices would."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import transformers

from trbert_deploy.checkpoint import load_checkpoint
from trbert_deploy.core.specs import NO_LOGIT
from trbert_deploy.tasks.heads import HeadSettings, tokens_at
from trbert_deploy.tasks.heads.candidates import CandidateHead
from trbert_deploy.tasks.heads.hotpot import HotpotHead
from trbert_deploy.tasks.heads.span import SpanHead
from trbert_deploy.tasks.heads.tokens import TokenHead

HIDDEN = 6
SETTINGS = HeadSettings(HIDDEN, num_labels=4, token_dropout=0.5)
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]])


@pytest.fixture
def states():
    torch.manual_seed(0)
    return torch.randn(3, 5, HIDDEN) + 100.0 * (1 - MASK)[..., None]  # padding would win any maximum


def linear(layer, array):
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    return np.asarray(array) @ weight.T + bias


def token_or_zeros(states, row, position):
    return states[row, position].numpy() if position >= 0 else np.zeros(HIDDEN, np.float32)


def test_tokens_at_is_zero_where_there_is_none(states):
    positions = torch.tensor([[0, 4, -1], [1, -1, 1], [-1, 0, 0]])
    given = tokens_at(states, positions)
    for row in range(3):
        for place in range(3):
            wanted = token_or_zeros(states, row, int(positions[row, place]))
            np.testing.assert_array_equal(given[row, place].numpy(), wanted)


def test_spans_have_no_logit_over_padding(states):
    head = SpanHead(SETTINGS)
    with torch.inference_mode():
        start_logits, end_logits = head(states, {"attention_mask": MASK})
    wanted = linear(head.qa_outputs, states)
    for place, given in enumerate((start_logits, end_logits)):
        real = MASK.numpy() > 0
        np.testing.assert_allclose(given.numpy()[real], wanted[..., place][real], rtol=0, atol=1e-5)
        assert (given.numpy()[~real] == NO_LOGIT).all()


def test_hotpot(states):
    head = HotpotHead(SETTINGS)
    spans = torch.tensor([[[0, 4], [2, 2], [-1, -1]], [[0, 1], [-1, -1], [1, 1]], [[0, 0], [-1, -1], [-1, -1]]])
    with torch.inference_mode():
        _, _, switch_logits, sent_logits = head(states, {"attention_mask": MASK, "sentence_spans": spans})
    for row in range(3):
        length = int(MASK[row].sum())
        np.testing.assert_allclose(
            switch_logits[row].numpy(),
            linear(head.qa_classifier, states[row, :length].numpy().max(0)),
            rtol=0,
            atol=1e-5,
        )
        for sentence in range(3):
            first, last = spans[row, sentence].tolist()
            pair = np.concatenate([token_or_zeros(states, row, first), token_or_zeros(states, row, last)])
            inner = linear(head.sent_linear, pair)
            inner = 0.5 * inner * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
            wanted = linear(head.sent_classifier, inner)
            np.testing.assert_allclose(sent_logits[row, sentence].numpy(), wanted, rtol=0, atol=1e-5)


def test_absent_candidates_have_no_logit(states):
    head = CandidateHead(SETTINGS)
    positions = torch.tensor([[0, 4, -1], [1, -1, 1], [-1, -1, -1]])
    with torch.inference_mode():
        given = head(states, {"candidate_positions": positions})[0].numpy()
    for row in range(3):
        for place in range(3):
            position = int(positions[row, place])
            wanted = linear(head.qa_outputs, states[row, position])[0] if position >= 0 else NO_LOGIT
            np.testing.assert_allclose(given[row, place], wanted, rtol=0, atol=1e-5)


def test_token_logits_are_zero_over_padding(states):
    head = TokenHead(SETTINGS).eval()
    with torch.inference_mode():
        given = head(states, {"attention_mask": MASK})[0].numpy()
    real = MASK.numpy() > 0
    np.testing.assert_allclose(given[real], linear(head.classifier, states)[real], rtol=0, atol=1e-5)
    assert (given[~real] == 0).all()


NONE = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
NO_DISTIL = {"dropout": 0.0, "attention_dropout": 0.0, "seq_classif_dropout": 0.0, "qa_dropout": 0.0}
BERT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, **NONE}
DISTILBERT = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, **NO_DISTIL}


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        *(
            (f"BertFor{task}", rates)
            for task in ("SequenceClassification", "TokenClassification", "MultipleChoice")
            for rates in (
                {"classifier_dropout": 0.5},
                {"classifier_dropout": 0.0, "hidden_dropout_prob": 0.2},
                {"hidden_dropout_prob": 0.2},
            )
        ),
        ("DistilBertForSequenceClassification", {"seq_classif_dropout": 0.5}),
        ("DistilBertForMultipleChoice", {"seq_classif_dropout": 0.5}),
        ("DistilBertForTokenClassification", {"dropout": 0.2}),
        ("DistilBertForQuestionAnswering", {"qa_dropout": 0.5}),
    ],
)
def test_training_drops_what_transformers_own_class_drops(name, rates, tmp_path):
    """The same random numbers give the same answers."""
    kind, sizes = ("distilbert", DISTILBERT) if name.startswith("Distil") else ("bert", BERT)
    config = transformers.AutoConfig.for_model(kind, vocab_size=40, **(sizes | rates))
    torch.manual_seed(0)
    theirs = getattr(transformers, name)(config)
    theirs.save_pretrained(tmp_path)
    ours = load_checkpoint(tmp_path).model
    ids = torch.arange(5, 29).reshape((2, 3, 4) if "MultipleChoice" in name else (4, 6))

    def logits(model):
        torch.manual_seed(1)
        answer = model(ids)
        outputs = answer if model is theirs else answer.outputs
        return torch.cat([value for key, value in outputs.items() if key.endswith("logits")])

    torch.testing.assert_close(logits(ours.train()), logits(theirs.train()), rtol=0, atol=1e-6)
    assert not torch.allclose(logits(ours), logits(ours.eval()), atol=1e-3)  # something was dropped
