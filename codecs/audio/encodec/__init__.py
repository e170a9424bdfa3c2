"""EnCodec: SEANet with an LSTM and residual vector quantization, causal and mono or stereo in overlapping segments."""
