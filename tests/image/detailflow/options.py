"""DetailFlow: config.json, the fields of `ModelArgs`, and what the trainer's config.yaml adds."""

from layout_options import Sweep

_YAML = {
    "vq_model": "SigLIP", "degradation_power": 1.5, "degradation_prob": 0.2, "dynamic_resolution_prob": 0.0, "global_seed": 0,
    "lr": 1e-4, "reconstruction_weight": 1.0, "perceptual_weight": 1.0, "disc_weight": 0.5,
}  # fmt: skip

SWEEPS = {
    "detailflow": Sweep(
        tiny={
            "image_size": 32, "codebook_size": 24, "codebook_embed_dim": 4, "enc_type": "siglip2", "dec_type": "siglip2",
            "encoder_model": "siglip2_base", "decoder_model": "siglip2_base", "num_latent_tokens": 8, "enc_patch_size": 8,
            "dec_patch_size": 8, "causal_encoder": True, "causal_decoder": False, "group_size": 2,
            "shrunk": {
                "siglip2": {
                    "hidden_size": 24, "intermediate_size": 34, "num_attention_heads": 2, "num_hidden_layers": 2, "num_patches": 9,
                },
                "base": {"embed_dim": 16, "num_heads": 2, "layer_num": 1},
            },
        },
        options={
            "as it is": {},
            "with the training around it": _YAML,
            "noisy codes and a teacher of the training": {"correction_training": True, "repa": True, "repa_model": "dinov2_vitb14"},
            "a bidirectional encoder": {"causal_encoder": False},
            "a causal decoder": {"causal_decoder": True},
            "more first tokens": {"causal_num": 4},
            "first tokens left to the group": {"causal_num": None},
            "tokens one by one": {"group_size": 1},
            "one group": {"group_size": 8},
            "sides that grow evenly": {"degradation_power": 1.0},
            "a faster growth": {"degradation_power": 2.0},
            "codes of any length": {"codebook_l2_norm": False},
            "wider codes": {"codebook_embed_dim": 6, "codebook_size": 12},
            "a whole encoder": {"encoder_model": "siglip2"},
            "an encoder that starts at random": {"enc_pretrained": False},
            "a pretrained decoder": {"dec_pretrained": True},
            "larger pictures": {"image_size": 40},
            "a key that the class does not know": {"num_latents": 3},
            "finer patches": {"enc_patch_size": 4, "dec_patch_size": 4},
        },
        refused={
            "another network": ({"enc_type": "dinov2"}, "enc_type"),
            "patches that differ": ({"dec_patch_size": 4}, "dec_patch_size"),
            "an unknown size": ({"encoder_model": "siglip2_giant"}, "encoder_model"),
            "too few layers": ({"encoder_model": "siglip2_large"}, "needs 16 layers"),
            "an untrained large one": ({"decoder_model": "siglip2_large"}, "cannot build"),
            "another reduction": ({"content_degradation": "blur"}, "content_degradation"),
            "groups that do not fit": ({"num_latent_tokens": 9}, "num_tokens"),
        },
    )
}  # fmt: skip
