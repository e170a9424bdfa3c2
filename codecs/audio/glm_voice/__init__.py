"""The speech tokenizer of GLM-4-Voice and Kimi-Audio: Whisper with a quantizer in its middle."""
