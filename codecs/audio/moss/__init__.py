"""CAT, the causal audio tokenizer with transformers alone: patches of samples, windowed attention, residual codes."""
