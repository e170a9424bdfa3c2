"""KARL: an adaptive-length tokenizer that chooses in one pass how many tokens a target quality needs."""
