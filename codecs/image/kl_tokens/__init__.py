"""A continuous autoencoder whose latents are cut into tokens after training: TokenBridge over MAR's KL-16, or any of diffusers."""
