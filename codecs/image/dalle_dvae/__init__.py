"""DALL-E's discrete VAE: residual ReLU convolutions, 8 pixels a token, one of 8192 codes by the highest logit."""
