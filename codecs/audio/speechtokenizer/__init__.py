"""SpeechTokenizer, DM-Codec and FuseCodec: SEANet with a residual quantizer whose first level is distilled from speech models."""
