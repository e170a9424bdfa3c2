"""Checkpoint layouts of X-codec and of Higgs Audio v2's tokenizer."""
