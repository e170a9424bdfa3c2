"""DAC, the Descript Audio Codec: Snake convolutions and residual quantization with factorised, cosine lookup."""
