"""GLM-Image's picture tokens: a ViT's features of pictures of any size, quantized with one table by cosine similarity. Encoder only."""
