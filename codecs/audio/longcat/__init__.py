"""LongCat-Audio-Codec: semantic ids of a speech tokenizer, DAC's encoder with product codebooks, a decoder with LSTMs."""
