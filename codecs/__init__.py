"""Tokenizers and their parts: the common interface, quantizers, layers, families. Does not depend on hubs or training loops."""
