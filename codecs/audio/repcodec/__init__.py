"""RepCodec, the semantic codec of MaskGCT and IndexTTS-2: ids of a speech model's features."""
