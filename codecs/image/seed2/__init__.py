"""SEED's second tokenizer: 32 tokens a picture in causal order, which stand for what it means."""
