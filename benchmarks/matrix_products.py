"""What few tokens cost a matrix product: the linear maps of BERT-base's layers under ONNX Runtime, nothing else.

A layer's weights are 28 MB in float32, and all twelve do not fit into a cache, so a product reads them from memory
however few tokens it has. With 20 tokens that takes about as long as the arithmetic. This bounds what any reduction can
gain at batch 1, and explains the figures of staged_vs_dense.py at length 128. Run it on an idle machine:

    python benchmarks/matrix_products.py --threads 2 --json matrix_products.json
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from trbert_deploy.bench.timing import interleave
from trbert_deploy.runtimes.environment import environment

HIDDEN, INNER, LAYERS = 768, 3072, 12
KEEP = (0.4, 0.15)
LENGTHS = (128, 512)


def layers() -> onnx.ModelProto:
    """Query, key, value, output, and the two maps of the feed-forward part, twelve times over, in a chain."""
    rng = np.random.default_rng(0)
    nodes, weights, tensor = [], [], "tokens"
    for layer in range(LAYERS):
        shapes = [(HIDDEN, HIDDEN)] * 4 + [(INNER, HIDDEN), (HIDDEN, INNER)]
        for place, shape in enumerate(shapes):
            name = f"{layer}.{place}"
            weight = rng.standard_normal(shape, dtype=np.float32) / np.float32(shape[1] ** 0.5)
            weights.append(numpy_helper.from_array(weight, f"weight {name}"))
            nodes.append(helper.make_node("Gemm", [tensor, f"weight {name}"], [name], transB=1))
            tensor = name
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", HIDDEN]) for name in ("tokens", tensor)]
    graph = helper.make_graph(nodes, "layers", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=40)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    session = onnxruntime.InferenceSession(layers().SerializeToString(), settings, providers=["CPUExecutionProvider"])
    counts = sorted({-(-length * fraction // 1000) for length in LENGTHS for fraction in (1000, 400, 150)})
    tokens = {count: np.ones((count, HIDDEN), dtype=np.float32) for count in counts}
    samples = interleave(
        {str(count): lambda _, count=count: session.run(None, {"tokens": tokens[count]}) for count in counts},
        iterations=options.iterations,
        warmup=5,
    )
    layer_ms = {count: statistics.median(samples[str(count)]) / LAYERS for count in counts}
    flops = {count: 2 * count * (4 * HIDDEN * HIDDEN + 2 * HIDDEN * INNER) for count in counts}
    for count in counts:
        speed = flops[count] / layer_ms[count] / 1e6
        print(f"{count:4} tokens: {layer_ms[count]:6.2f} ms a layer, {speed:5.0f} GFLOP/s")
    bounds = {}
    for length in LENGTHS:
        first, second = (-(-length * round(1000 * fraction) // 1000) for fraction in KEEP)
        ratios = [
            LAYERS * cost[length] / (cost[length] + 5 * cost[first] + 6 * cost[second]) for cost in (layer_ms, flops)
        ]
        bounds[length] = ratios[0] / ratios[1]
        print(
            f"length {length}, keep {KEEP}: products alone {ratios[0]:.2f}x, by operations {ratios[1]:.2f}x: "
            f"at most {bounds[length]:.2f} of the FLOPs ratio"
        )
    if options.json:
        report = {
            "schema_version": "1.0",
            "benchmark": "matrix_products",
            "environment": environment(),
            "config": {"threads": options.threads, "iterations": options.iterations, "keep": KEEP},
            "results": {"layer_ms": layer_ms, "at_most_of_flops_ratio": bounds, "samples_ms": samples},
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
