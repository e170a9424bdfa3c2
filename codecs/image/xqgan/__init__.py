"""XQ-GAN, ImageFolder and RobusTok: DINOv2-shaped ViTs with latent tokens around product, multi-scale or single quantizers."""
