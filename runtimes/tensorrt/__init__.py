"""TensorRT: engines ("plans") of a bundle's graphs, built, kept beside the bundle, and run."""
