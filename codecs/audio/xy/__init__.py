"""XY-Tokenizer: two Whisper-like encoders in front of one residual quantizer, and a Vocos behind it."""
