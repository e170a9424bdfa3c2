"""4M's tokenizer: ViT encoder, cosine codebook, ViT decoder, for pictures of any size."""
