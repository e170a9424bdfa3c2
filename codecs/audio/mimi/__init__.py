"""Mimi: causal convolutions and transformers on both sides of a split residual quantizer; streams in frames of 80 ms."""
