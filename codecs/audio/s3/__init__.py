"""S3, the supervised semantic speech tokenizer of CosyVoice."""
