"""Parts that tiny forms of several families have: quantizers, transformers, convolutional stacks."""

RVQ = {"kind": "residual_vq", "num_codebooks": 3, "codebook_size": 16, "kmeans_init": False}
#: Factorised cosine lookup, as DAC, SNAC and BigCodec have it.
FACTORISED = RVQ | {"codebook_dim": 4, "normalize": True, "update": "gradient", "replace_below": 0.0}
#: A transformer over frames, and what stands around it in Mimi.
SMALL_TRANSFORMER = {"width": 8, "layers": 1, "heads": 2, "feed_forward": 8, "context": 5, "layer_scale": 0.5}
SMALL_SEANET = {"width": 4, "strides": [2, 5], "latent_dim": 8, "last_kernel_size": 3, "lstm_layers": 0, "causal": True}
SMALL_SEANET |= {"padding": "constant", "identity_skip": True}
SPLIT_RVQ = RVQ | {"codebook_dim": 4, "projection": "shared", "proj_bias": False, "split_first": 1}
SMALL_W2V_BERT = {
    "model_type": "wav2vec2-bert", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 8, "output_hidden_size": 8, "conv_depthwise_kernel_size": 3, "vocab_size": 8,
}  # fmt: skip
FACTORISED_4 = {"codebook_dim": 4, "normalize": True, "update": "gradient", "kmeans_init": False, "replace_below": 0.0}
SMALL_HUBERT = {
    "model_type": "hubert", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8,
    "conv_dim": [4] * 7, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2, "vocab_size": 8,
}  # fmt: skip
#: One side of a VQGAN: two levels, attention at the coarser one.
SMALL_STACK = {"widths": [4, 8], "blocks": 1, "attention_levels": [1], "groups": 4}
VQGAN = {"encoder": SMALL_STACK | {"stem_width": 4}, "decoder": SMALL_STACK, "z_channels": 6, "embed_dim": 4}
SMALL_SCALES = {"scales": [[1, 1], [2, 2], [3, 3]]}
#: A transformer of a few numbers, in the terms of the ViT families.
SMALL_VIT = {"width": 16, "layers": 1, "heads": 2}
GRADIENT_VQ = {"kind": "vq", "codebook_size": 16, "update": "gradient", "kmeans_init": False}
UNIT_VQ = GRADIENT_VQ | {"normalize": True, "returns": "normalized"}
#: The VQGAN under KARL and ALIT: stride 2, a grid of 4 x 4.
BASE_VQGAN = {
    "encoder": SMALL_STACK | {"stem_width": 4, "attention_levels": []},
    "decoder": SMALL_STACK | {"attention_levels": []},
    "z_channels": 4,
    "embed_dim": 0,
    "quantizer": GRADIENT_VQ,
    "value_range": [0.0, 1.0],
}
DISTILLED = {
    "base": BASE_VQGAN,
    "grid_size": 4,
    "patch_size": 2,
    "encoder": SMALL_VIT,
    "decoder": SMALL_VIT,
    "latent_dim": 4,
    "quantizer": UNIT_VQ,
}
#: Continuous, of diffusers, halving once.
SMALL_VAE = {
    "block_out_channels": [4, 4],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "norm_num_groups": 2,
    "latent_channels": 3,
}
