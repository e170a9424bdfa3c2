"""HiFi-Codec: a HiFi-GAN generator and its mirror image around group-residual quantization."""
