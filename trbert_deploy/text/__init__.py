"""From items of text to rows of token ids, and from output arrays to predictions."""
