"""SEED's second tokenizer: 32 tokens a picture in causal order, for its semantics rather than its pixels."""
