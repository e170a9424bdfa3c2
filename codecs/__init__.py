"""What a tokenizer is made of: the contract, quantizers, layers, families. Knows nothing of hubs or training loops."""
