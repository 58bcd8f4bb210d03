"""Honest numbers: a bundle against PyTorch and against dense BERT, speed and accuracy side by side."""
