"""Cosmos DV: a causal tokenizer of clips, 3-D Haar patches, factorised convolutions and finite scalar quantization."""
