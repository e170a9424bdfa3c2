"""GLM-Image's picture tokens: a ViT's features of pictures of any size, looked up by angle in one table. It only encodes."""
