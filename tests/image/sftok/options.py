"""SFTok: the YAML of the authors' trainings, and the config.json of the hub."""

from typing import Any

from layout_options import DROP, Sweep


def _vq(**values: Any) -> dict[str, Any]:
    return {"model": {"vq_model": values}}


def _generator(**values: Any) -> dict[str, Any]:
    return {"model": {"generator": values}}


_GUIDANCE = {"guidance_scale": 4.5, "guidance_decay": "power-cosine", "guidance_scale_pow": 3.0, "class_label_dropout": 0.1}

SWEEPS = {
    "sftok": Sweep(
        tiny={
            "model": {
                "vq_model": {
                    "codebook_size": 24, "token_size": 4, "use_l2_norm": True, "commitment_cost": 0.25, "vit_enc_model_size": "tiny",
                    "vit_enc_patch_size": 8, "num_latent_tokens": 5, "num_group": 1, "finetune_decoder": True, "semantic_guide": None,
                },
                "decoder": {
                    "vit_dec_model_size": "tiny", "vit_dec_patch_size": 8, "num_latent_tokens": 5, "token_size": 4,
                    "num_proxy_codes": 4, "codebook_size": 12,
                },
                "generator": {"num_steps": 3, "randomize_temperature": 1.0, "guidance_scale": 0.0, "guidance_decay": "constant"},
            },
            "dataset": {"preprocessing": {"crop_size": 16}},
            "shrunk": {
                "codes": 12, "grid": 2, "z": 6, "channel_mult": [1, 1, 1, 1],
                "model_sizes": {
                    "tiny": {"width": 16, "num_layers": 1, "num_heads": 2},
                    "wide": {"width": 24, "num_layers": 2, "num_heads": 3},
                },
            },
            "pixel_decoder": {"width": 32, "num_res_blocks": 1},
        },
        options={
            "as it is": {},
            "with the training around it": {"experiment": {"output_dir": "x"}, "losses": {"quantizer_weight": 1.0}, "training": {}},
            "a class label and guidance, without effect": _generator(**_GUIDANCE),
            "no word of the steps": {"model": {"generator": DROP}},
            "one step": _generator(num_steps=1),
            "softened logits": _generator(softmax_temperature_annealing=True),
            "codes of any length": _vq(use_l2_norm=False),
            "a larger decoder": {"model": {"decoder": {"vit_dec_model_size": "wide"}}},
            "a larger encoder": _vq(vit_enc_model_size="wide"),
            "finer patches for the encoder": _vq(vit_enc_patch_size=4),
            "more tokens": {"model": {"vq_model": {"num_latent_tokens": 9}, "decoder": {"num_latent_tokens": 9}}},
            "wider codes": {"model": {"vq_model": {"token_size": 8, "codebook_size": 10}, "decoder": {"token_size": 8}}},
            "the first stages, without pixels": _vq(finetune_decoder=False) | {"pixel_decoder": DROP},
            "what stages and a teacher need": _vq(pretrained_tokenizer_weight="maskgit.bin", sem_loss_weight=0.1, quantize_mode="vq")
            | {"model": {"decoder": {"embedding_width": 1024, "embedding_init": False, "replace_prob": 0.8, "is_legacy": True}}},
        },
        refused={
            "continuous": (_vq(quantize_mode="vae"), "quantize_mode"),
            "groups of codes": (_vq(num_group=2), "num_group"),
            "pixels from the transformer": ({"model": {"decoder": {"is_legacy": False}}}, "is_legacy"),
            "an unknown size": (_vq(vit_enc_model_size="giant"), "giant"),
            "sides that disagree": (_vq(token_size=6), "token_size"),
            "another grid of codes": ({"model": {"decoder": {"num_proxy_codes": 9}}}, "do not fit"),
            "a misspelt key": (_vq(num_latents=3), "num_latents"),
        },
    )
}  # fmt: skip
