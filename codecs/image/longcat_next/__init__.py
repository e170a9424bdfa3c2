"""LongCat-Next's visual tokenizer dNaViT: pictures of any size to 8 residual ids for every 28 x 28 pixels."""
