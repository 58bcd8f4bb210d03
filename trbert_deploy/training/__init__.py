"""Training: the paper's steps, from a BERT or DistilBERT and labelled rows to a TR-BERT checkpoint."""
