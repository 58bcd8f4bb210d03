"""What a training begins with: every kind of checkpoint, and what does not fit."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
import transformers
from torch import nn

from trbert_deploy.checkpoint import load_checkpoint
from trbert_deploy.core.errors import CheckpointError, InputError
from trbert_deploy.training.data import Examples
from trbert_deploy.training.initial import load_initial, set_dropout, tokenize, with_selectors

SIZES = {
    "bert": {
        "hidden_size": 16,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "hidden_dropout_prob": 0.2,
        "attention_probs_dropout_prob": 0.3,
    },
    "distilbert": {"dim": 16, "n_layers": 4, "n_heads": 2, "hidden_dim": 32, "dropout": 0.2, "attention_dropout": 0.3},
}
ENCODERS = ["BertModel", "BertForMaskedLM", "BertForPreTraining", "DistilBertModel", "DistilBertForMaskedLM"]
CLASSIFIERS = ["BertForSequenceClassification", "DistilBertForSequenceClassification"]
IDS = torch.tensor([[2, 5, 6, 7, 3], [2, 9, 3, 0, 0]])
MASK = (IDS > 0).long()


@pytest.fixture
def checkpoint(tmp_path, vocabulary):
    """Saves a random transformers model of a class, with a tokenizer: its folder and the model."""

    def make(name, tokenizer=True, **options):
        kind = "distilbert" if name.startswith("Distil") else "bert"
        common = {"vocab_size": 40, "max_position_embeddings": 32, "initializer_range": 0.3}
        config = transformers.AutoConfig.for_model(kind, **(common | SIZES[kind] | options))
        torch.manual_seed(0)
        model = getattr(transformers, name)(config).eval()
        folder = tmp_path / name
        model.save_pretrained(folder)
        if tokenizer:
            shutil.copy(vocabulary / "vocab.txt", folder)
        return folder, model

    return make


@pytest.fixture
def data(tmp_path):
    """Writes a labelled file, a row for each label."""

    def make(*labels):
        file = tmp_path / "data.jsonl"
        file.write_text("".join(json.dumps({"text": "a good film", "label": label}) + "\n" for label in labels))
        return file

    return make


def logits_of(model):
    with torch.inference_mode():
        return model(IDS, MASK).outputs["logits"].numpy()


@pytest.mark.parametrize("name", ENCODERS)
def test_a_bare_encoder_gets_a_head_for_the_datas_labels(checkpoint, data, name):
    folder, theirs = checkpoint(name)
    initial = load_initial(folder, data("good", "bad", "so"), labels=None, seed=3)
    assert initial.bare
    assert initial.examples.names == ("bad", "good", "so")
    assert initial.examples.labels.tolist() == [1, 0, 2]
    assert initial.model.config.id2label == {0: "bad", 1: "good", 2: "so"}
    assert initial.model.num_stages == 1
    assert logits_of(initial.model).shape == (2, 3)
    assert initial.tokenizer("a bad film")["input_ids"] == [2, 5, 14, 15, 3]
    encoder = getattr(theirs, theirs.base_model_prefix) if name not in ("BertModel", "DistilBertModel") else theirs
    with torch.inference_mode():
        wanted = encoder(IDS, MASK).last_hidden_state
        ours = initial.model.backbone(IDS, MASK).last_hidden_state
    np.testing.assert_allclose(ours[MASK > 0], wanted[MASK > 0], atol=1e-5)


def test_a_new_head_depends_on_the_seed(checkpoint, data):
    folder, _ = checkpoint("BertForMaskedLM")
    file = data(0, 1)
    heads = [load_initial(folder, file, labels=None, seed=seed).model.head.state_dict() for seed in (3, 3, 4)]
    assert all(torch.equal(heads[0][name], heads[1][name]) for name in heads[0])
    assert not torch.equal(heads[0]["classifier.weight"], heads[2]["classifier.weight"])
    assert 0.01 < heads[0]["dense.weight"].std() < 0.03  # transformers' 0.02, not torch's 0.14


def test_names_in_the_callers_order(checkpoint, data):
    folder, _ = checkpoint("BertModel")
    initial = load_initial(folder, data("good", "bad"), labels=["good", "bad"], seed=0)
    assert initial.model.config.id2label == {0: "good", 1: "bad"}
    assert initial.model.config.label2id == {"good": 0, "bad": 1}
    assert initial.examples.labels.tolist() == [0, 1]
    with pytest.raises(InputError, match="'bad' is none of good, fine"):
        load_initial(folder, data("good", "bad"), labels=["good", "fine"], seed=0)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_answers_as_it_did_and_keeps_its_labels(checkpoint, data, name):
    folder, theirs = checkpoint(name, id2label={0: "x", 1: "y", 2: "z"}, label2id={"x": 0, "y": 1, "z": 2})
    initial = load_initial(folder, data("z", "x"), labels=None, seed=0)
    assert not initial.bare
    assert initial.examples.names == ("x", "y", "z")
    assert initial.examples.labels.tolist() == [2, 0]
    with torch.inference_mode():
        np.testing.assert_allclose(logits_of(initial.model), theirs(IDS, MASK).logits, atol=1e-5)


def test_a_tr_bert_is_not_trained_again(golden, data, tmp_path, vocabulary):
    folder = shutil.copytree(golden("bert-sequence-classification").folder, tmp_path / "upstream")
    shutil.copy(vocabulary / "vocab.txt", folder)
    with pytest.raises(CheckpointError, match="has selectors already"):
        load_initial(folder, data(0, 1), labels=None, seed=0)


@pytest.mark.parametrize("change", [{"problem_type": "regression"}, {"problem_type": "multi_label_classification"}])
def test_another_kind_of_problem_is_refused(checkpoint, data, change):
    folder, _ = checkpoint("BertForSequenceClassification")
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(CheckpointError, match="does not choose one of several classes"):
        load_initial(folder, data(0, 1), labels=None, seed=0)


def test_labels_that_do_not_fit_the_classifier(checkpoint, data):
    folder, _ = checkpoint("BertForSequenceClassification")
    with pytest.raises(InputError, match="line 2: label 2 is none of LABEL_0, LABEL_1"):
        load_initial(folder, data(0, 2), labels=None, seed=0)
    with pytest.raises(InputError, match="has names for its labels already"):
        load_initial(folder, data(0, 1), labels=["a", "b"], seed=0)


@pytest.mark.parametrize("name", ["BertForSequenceClassification", "BertModel"])
def test_rows_of_one_class_teach_nothing(checkpoint, data, name):
    folder, _ = checkpoint(name)
    with pytest.raises(InputError, match="one class only"):
        load_initial(folder, data(1, 1, 1), labels=None, seed=0)


@pytest.mark.parametrize("name", ["BertForSequenceClassification", "BertModel"])
def test_a_checkpoint_without_tokenizer(checkpoint, data, name):
    folder, _ = checkpoint(name, tokenizer=False)
    with pytest.raises(CheckpointError, match=r"has no tokenizer.*vocab\.txt"):
        load_initial(folder, data(0, 1), labels=None, seed=0)


@pytest.mark.parametrize("name", ["BertForQuestionAnswering", "DistilBertForTokenClassification"])
def test_a_model_of_another_task(checkpoint, data, name):
    folder, _ = checkpoint(name)
    with pytest.raises(CheckpointError, match="is not trained, only sequence-classification") as caught:
        load_initial(folder, data(0, 1), labels=None, seed=0)
    assert caught.value.hint == ""  # there is nothing to mend


def test_a_class_nobody_knows(checkpoint, data):
    folder, _ = checkpoint("BertForNextSentencePrediction")
    with pytest.raises(CheckpointError, match="BertForNextSentencePrediction"):
        load_initial(folder, data(0, 1), labels=None, seed=0)


# -- tokens --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["BertModel", "DistilBertModel"])
def test_a_token_without_an_embedding_is_named(checkpoint, data, name):
    folder, _ = checkpoint(name, vocab_size=19)  # as many as the tokenizer has
    tokenizer = transformers.BertTokenizerFast.from_pretrained(folder)
    tokenizer.add_tokens(["unheard"])
    tokenizer.save_pretrained(folder)
    initial = load_initial(folder, data(0, 1), labels=None, seed=0)
    tokenized = tokenize(initial, initial.examples, 16)  # the token does not occur
    assert initial.model(**tokenized.batch(np.array([0, 1])).inputs).outputs["logits"].isfinite().all()
    heard = Examples([("good",), ("an unheard film",)], initial.examples.labels, initial.examples.names)
    with pytest.raises(CheckpointError, match=r"token 19 \('unheard'\), .* 0 to 18\. .*resize_token_embeddings"):
        tokenize(initial, heard, 16)
    assert tokenize(initial, heard, 3).largest_id < 19  # cut off


@pytest.mark.parametrize(("name", "refused"), [("BertModel", True), ("DistilBertModel", False)])
def test_pairs_need_two_token_types_where_the_encoder_has_any(checkpoint, data, name, refused):
    folder, _ = checkpoint(name, **({"type_vocab_size": 1} if refused else {}))
    initial = load_initial(folder, data(0, 1), labels=None, seed=0)
    assert len(tokenize(initial, initial.examples, 16)) == 2
    pairs = Examples([("good",), ("good", "film")], initial.examples.labels, initial.examples.names)
    if refused:
        with pytest.raises(InputError, match=r"type_vocab_size 1.*leave text_pair out"):
            tokenize(initial, pairs, 16)
    else:
        assert len(tokenize(initial, pairs, 16)) == 2


# -- selectors -----------------------------------------------------------------------------------------------


@pytest.fixture(params=CLASSIFIERS)
def dense(request, checkpoint):
    labels = {"id2label": {0: "x", 1: "y", 2: "z"}, "label2id": {"x": 0, "y": 1, "z": 2}}
    return load_checkpoint(checkpoint(request.param, **labels)[0]).model


def test_new_selectors_leave_the_dense_answers_as_they_were(dense):
    model = with_selectors(dense, seed=0).eval()
    assert model.config.reduction_layers == [1, 2]
    assert len(model.selectors) == 2
    assert model.config.id2label == dense.config.id2label
    assert model.config.keep is None
    np.testing.assert_array_equal(logits_of(model.without_reduction()), logits_of(dense))


def test_the_new_model_shares_no_memory_with_the_dense_one(dense):
    model = with_selectors(dense, seed=0).eval()
    places = {weight.data_ptr() for weight in dense.state_dict().values()}
    assert not places & {weight.data_ptr() for weight in model.state_dict().values()}
    before = logits_of(dense)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    set_dropout(model, 0.7, 0.7)
    np.testing.assert_array_equal(logits_of(dense), before)
    assert all(module.p != 0.7 for module in dense.modules() if isinstance(module, nn.Dropout))


def test_dropouts_of_states_and_of_attention(dense, tmp_path):
    model = with_selectors(dense, seed=0)
    set_dropout(model, None, None)
    assert model.config.backbone.to_dict() == dense.config.backbone.to_dict()
    set_dropout(model, 0.7, 0.4)
    model.save_pretrained(tmp_path)
    for made in (model, load_checkpoint(tmp_path).model):  # the modules, and what the configuration makes of itself
        layers = list(made.encoder_layers)
        attention = [layer.attention.self if hasattr(layer.attention, "self") else layer.attention for layer in layers]
        assert {module.dropout.p for module in attention} == {0.4}
        rates = [module.p for module in made.modules() if isinstance(module, nn.Dropout)]
        assert rates.count(0.4) == len(layers)
        assert rates.count(0.7) == len(rates) - len(layers)


def test_selectors_depend_on_the_seed_alone(dense):
    first, second, other = (with_selectors(dense, seed=seed).selectors.state_dict() for seed in (5, 5, 6))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["0.dense.weight"], other["0.dense.weight"])
    assert not torch.equal(first["0.dense.weight"], first["1.dense.weight"])


def test_the_new_model_is_saved_and_loaded_whole(dense, tmp_path):
    model = with_selectors(dense, seed=0).eval()
    model.save_pretrained(tmp_path / "own")
    again = load_checkpoint(tmp_path / "own").model
    assert again.config.reduction_layers == [1, 2]
    np.testing.assert_array_equal(logits_of(again), logits_of(model))


def test_one_layer_has_no_place_for_a_reduction(checkpoint):
    folder, _ = checkpoint("BertForSequenceClassification", num_hidden_layers=1)
    with pytest.raises(CheckpointError, match="one layer"):
        with_selectors(load_checkpoint(folder).model, seed=0)


# -- dropout -------------------------------------------------------------------------------------------------


def test_dropout_is_set_everywhere_and_in_the_configuration(dense, tmp_path):
    model = with_selectors(dense, seed=0)
    rates = {module.p for module in model.modules() if isinstance(module, nn.Dropout)}
    assert {0.2, 0.3} <= rates  # the checkpoint's own came along
    set_dropout(model, 0.05, 0.05)
    assert {module.p for module in model.modules() if isinstance(module, nn.Dropout)} == {0.05}
    model.save_pretrained(tmp_path / "own")
    again = load_checkpoint(tmp_path / "own").model
    assert {module.p for module in again.modules() if isinstance(module, nn.Dropout)} == {0.05}


def test_a_classifiers_own_dropout_is_set_too(checkpoint, tmp_path):
    model = load_checkpoint(checkpoint("BertForSequenceClassification", classifier_dropout=0.5)[0]).model
    assert model.head.dropout.p == 0.5
    set_dropout(model, 0.1, 0.1)
    assert model.head.dropout.p == 0.1
    model.save_pretrained(tmp_path / "own")
    assert load_checkpoint(tmp_path / "own").model.head.dropout.p == 0.1


def test_no_dropout_makes_training_mode_the_same_as_evaluation(dense):
    dropped = dense.train()
    torch.manual_seed(0)
    assert not np.array_equal(logits_of(dropped), logits_of(dropped))
    set_dropout(dense, 0.0, 0.0)
    trained = logits_of(dense)
    np.testing.assert_allclose(trained, logits_of(dense.eval()), atol=1e-6)
