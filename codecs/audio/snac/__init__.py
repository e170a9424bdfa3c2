"""SNAC, the Multi-Scale Neural Audio Codec: DAC's body, and residual levels of quantization at different rates."""
