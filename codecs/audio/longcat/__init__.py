"""LongCat-Audio-Codec: a speech tokenizer's ids beside DAC's encoder, product codebooks, a decoder with memory."""
