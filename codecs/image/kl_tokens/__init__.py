"""A continuous autoencoder whose latents are quantized after training: TokenBridge over MAR's KL-16, or diffusers' AutoencoderKL."""
