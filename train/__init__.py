"""How a tokenizer is made: one loop for all modalities, its losses, discriminators, data and teachers."""
