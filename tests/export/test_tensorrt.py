"""Stage graphs in fp16 and int8 as TensorRT reads them: strongly typed. `test_every_graph` builds them."""

from __future__ import annotations

import pytest

trt = pytest.importorskip("tensorrt_rtx_bindings")

BUDGET = (0.4, 0.15)
#: Every task, both backbones, both modes.
CASES = [
    ("bert-sequence-classification", ()),
    ("bert-hotpot-question-answering", ()),
    ("distilbert-question-answering", BUDGET),
    ("distilbert-multiple-choice", BUDGET),
    ("bert-wikihop", BUDGET),
    ("tokens", ()),
]
ids = [f"{name}-{'budget' if keep else 'policy'}" for name, keep in CASES]


@pytest.fixture(scope="module")
def logger():
    class Errors(trt.ILogger):
        def __init__(self):
            trt.ILogger.__init__(self)
            self.messages = []

        def log(self, severity, message):
            # It looks for a driver, and complains that there is none.
            if severity <= trt.ILogger.ERROR and "CUDA" not in message and "cudaError" not in message:
                self.messages.append(message)

    return Errors()


def network_of(graph, logger, builder):
    flags = trt.NetworkDefinitionCreationFlag
    typed = 1 << int(flags.STRONGLY_TYPED) if hasattr(flags, "STRONGLY_TYPED") else 0  # newer ones know nothing else
    network = builder.create_network(typed)
    parser = trt.OnnxParser(network, logger)
    parsed = parser.parse(graph.SerializeToString())
    errors = [parser.get_error(index).desc() for index in range(parser.num_errors)]
    assert parsed, errors
    return network


@pytest.mark.parametrize("precision", ["fp16", "int8"])
@pytest.mark.parametrize(("name", "keep"), CASES, ids=ids)
def test_every_stage_is_strongly_typed(half_of, int8_of, logger, name, keep, precision):
    graphs = half_of(name, bool(keep)) if precision == "fp16" else int8_of(name, keep, "tensorrt")
    handed_over = trt.DataType.HALF if precision == "fp16" else trt.DataType.FLOAT
    for graph in graphs:
        network = network_of(graph, logger, trt.Builder(logger))
        tensors = [network.get_input(index) for index in range(network.num_inputs)]
        tensors += [network.get_output(index) for index in range(network.num_outputs)]
        types = {tensor.name: tensor.dtype for tensor in tensors}
        states = [kind for tensor, kind in types.items() if tensor.endswith("hidden_states")]
        assert states == [handed_over] * len(states)
        logits = [kind for tensor, kind in types.items() if tensor.endswith("logits")]
        assert logits == [trt.DataType.FLOAT] * len(logits)
        layers = [network.get_layer(index) for index in range(network.num_layers)]
        kinds = {layer.type for layer in layers}
        products = {layer.get_input(0).dtype for layer in layers if layer.type == trt.LayerType.MATRIX_MULTIPLY}
        if precision == "fp16":
            assert trt.DataType.HALF in products
            assert trt.LayerType.QUANTIZE not in kinds
        else:
            assert {trt.LayerType.QUANTIZE, trt.LayerType.DEQUANTIZE} <= kinds
    assert logger.messages == []


def test_the_cpu_form_is_refused(int8_of, logger):
    """Why there are two forms: zero points and int32 biases."""
    builder = trt.Builder(logger)
    with pytest.raises(AssertionError, match="bias_DequantizeLinear"):
        network_of(int8_of("bert-sequence-classification", (), "cpu")[2], logger, builder)
    logger.messages.clear()
