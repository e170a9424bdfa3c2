"""TiTok of both generations, TA-TiTok, One-D-Piece: one nested config, also with what the authors' YAML says of training."""

from layout_options import DROP, Sweep


def _vq(**values):
    return {"model": {"vq_model": values}}


_VQ = {
    "codebook_size": 24, "token_size": 4, "use_l2_norm": True, "commitment_cost": 0.25, "vit_enc_model_size": "tiny",
    "vit_dec_model_size": "tiny", "vit_enc_patch_size": 8, "vit_dec_patch_size": 8, "num_latent_tokens": 5,
}  # fmt: skip
_TINY = {
    "model": {"vq_model": _VQ},
    "dataset": {"preprocessing": {"crop_size": 16}},
    "model_sizes": {
        "tiny": {"width": 16, "num_layers": 1, "num_heads": 2},
        "wide": {"width": 24, "num_layers": 2, "num_heads": 3},
    },
}
_LATER = {**_TINY, "model": {"vq_model": _VQ | {"is_legacy": False, "finetune_decoder": False}}}
_LEGACY = {
    **_TINY,
    "model": {"vq_model": _VQ | {"pixel_codebook_size": 12}},
    "pixel_decoder": {
        "channel_mult": [1, 1, 1, 1], "num_resolutions": 4, "hidden_channels": 32, "num_res_blocks": 1, "z_channels": 6,
        "num_embeddings": 12, "embedding_dim": 6,
    },
}  # fmt: skip
#: What stands beside the tokenizer in published configs and in the YAML of the trainings.
_BESIDE = {
    "experiment": {"tokenizer_checkpoint": "tokenizer_titok_b64.bin", "output_dir": "titok_b_64"},
    "model": {"generator": {"model_type": "ViT", "hidden_size": 768, "image_seq_len": "${model.vq_model.num_latent_tokens}"}},
    "losses": {"discriminator_start": 20000},
}
_OPTIONS = {
    "as it is": {},
    "with generator and training": _BESIDE,
    "codes as they are stored": _vq(use_l2_norm=False),
    "a larger decoder": _vq(vit_dec_model_size="wide"),
    "a larger encoder": _vq(vit_enc_model_size="wide"),
    "finer patches for the encoder": _vq(vit_enc_patch_size=4),
    "more tokens": _vq(num_latent_tokens=9),
    "wider codes": _vq(token_size=12, codebook_size=10),
    "clustered codes": _vq(clustering_vq=True),
    "the teacher's file": _vq(pretrained_tokenizer_weight="maskgit-vqgan-imagenet-f16-256.bin"),
    "said to be vq": _vq(quantize_mode="vq"),
    "another commitment": _vq(commitment_cost=1.0),
}
_REFUSED = {
    "continuous": (_vq(quantize_mode="vae"), "quantize_mode"),
    "an unknown size": (_vq(vit_enc_model_size="giant"), "giant"),
    "a misspelt key": (_vq(num_latent_token=3), "num_latent_tokens"),
    "no size of pictures": ({"dataset": {"preprocessing": {"crop_size": DROP}}}, "crop_size"),
}
_LATER_OPTIONS = _OPTIONS | {"finer patches for the decoder": _vq(vit_dec_patch_size=4)}
_LEGACY_OPTIONS = _OPTIONS | {
    "first stage": _vq(finetune_decoder=False),
    "said to be legacy": _vq(is_legacy=True, finetune_decoder=True),
    "another teacher": {"pixel_decoder": {"num_res_blocks": 2, "z_channels": 5, "embedding_dim": 5}},
}


def _legacy(state):
    return state | ({"quantize.embed_prob": state["quantize.embedding.weight"][:, 0]})


SWEEPS = {
    "titok": Sweep(tiny=_LATER, options=_LATER_OPTIONS, refused=_REFUSED | {"codes": (_vq(finetune_decoder=True), "is_legacy")}),
    "titok-legacy": Sweep(tiny=_LEGACY, options=_LEGACY_OPTIONS, refused=_REFUSED, published=_legacy),
    "tatitok": Sweep(
        tiny={**_LATER, "model": {"vq_model": _LATER["model"]["vq_model"] | {"text_context_length": 3, "text_embed_dim": 8}}},
        options=_LATER_OPTIONS | {"longer texts": _vq(text_context_length=5, text_embed_dim=4)},
        refused=_REFUSED,
        published=_legacy,
    ),
    "one-d-piece": Sweep(
        tiny={**_LEGACY, "model": {"vq_model": _LEGACY["model"]["vq_model"] | {"strict_length_assertion": False}}},
        options=_LEGACY_OPTIONS | {"all tokens or none": _vq(strict_length_assertion=True)},
        refused=_REFUSED,
    ),
}
