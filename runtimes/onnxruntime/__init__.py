"""ONNX Runtime, on its own providers and on TensorRT's."""
