"""Measure a bundle against the PyTorch reference and against dense BERT."""
