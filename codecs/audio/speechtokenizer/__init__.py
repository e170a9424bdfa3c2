"""SpeechTokenizer, DM-Codec and FuseCodec: SEANet whose first level of quantization is taught the content of speech."""
