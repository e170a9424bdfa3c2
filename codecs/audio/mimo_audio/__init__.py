"""MiMo-Audio-Tokenizer: a Whisper-like encoder, a residual quantizer of 20 levels, and a decoder that ends in a transformer-Vocos."""
