"""LongCat-Next's visual tokenizer, whole and its codes alone."""

import torch
from layout_options import DROP, Sweep

_CODES = {
    "depth": 3, "decay": 0.99, "codebook_size": 32, "codebook_dim": 6, "shared_codebook": True, "restart_unused_codes": True,
    "in_channels": 10, "vq_loss_ratio": 0.0, "entropy_loss_ratio": 0.0, "commit_loss_ratio": 0.25, "quant_conv": True,
    "quantizer_type": "rq",
}  # fmt: skip
_DECODER = {
    "image_decoder_config": {
        "hidden_size": 16, "patch_size": 2, "spatial_merge_size": 2, "codebook_dim": 6, "temporal_patch_size": 2,
        "layer_norm_eps": 1e-5, "num_hidden_layers": 1, "num_attention_heads": 2, "attention_dropout": 0.0, "intermediate_size": 12,
        "hidden_act": "gelu", "swiglu": True, "subln": False, "image_size": 28, "num_channels": 3,
    },
    "transformer_config": {"hidden_size": 2520}, "vae_config": {"latent_channels": 16},
    "scheduler_config": {"num_train_timesteps": 1000},
    "weight_path": "WEIGHT_PATH_TO_LONGCAT_NEXT/image_decoder/image_decoder.safetensors", "codebook_dim": 6,
}  # fmt: skip
#: Of a whole model's config.json the visual part; what it leaves out has the defaults of Qwen2.5-VL's vision tower.
_WHOLE = {
    "architectures": ["LongcatNextForCausalLM"], "model_type": "longcat_next", "hidden_size": 3072, "audio_config": {"d_model": 1280},
    "visual_config": {
        "hidden_size": 16, "depth": 2, "num_heads": 2, "intermediate_size": 12, "patch_size": 2, "spatial_merge_size": 2,
        "temporal_patch_size": 2, "window_size": 8, "fullatt_block_indexes": [1], "out_hidden_size": 10, "hidden_act": "silu",
        "in_channels": 3, "tokens_per_second": 2, "image_pad_token_id": 131108, "image_start_token_id": 131106,
        "vq_config": _CODES | {"codebook_sizes": [32] * 3}, "visual_decoder_config": _DECODER,
    },
}  # fmt: skip


def _decoder(**change) -> dict:
    return {"visual_config": {"visual_decoder_config": {"image_decoder_config": change}}}


def _tower(**change) -> dict:
    return {"visual_config": change}


def _tables(**change) -> dict:
    return {"visual_config": {"vq_config": change}}


def _published(state: dict) -> dict:
    """The visual part's keys, with the language model's side of the codes, and the diffusion refiner's."""
    return state | {
        "visual_embedding_layer.pre_buffer.mlp.up_proj.weight": torch.ones(2, 2), "image_refiner.cond_proj.weight": torch.ones(2, 2),
        "image_refiner.base_transformer.layers.0.attn.to_q.weight": torch.ones(2, 2),
    }  # fmt: skip


SWEEPS = {
    "longcat-next": Sweep(
        tiny=_WHOLE,
        shape=(3, 8, 12),
        options={
            "as it is": {},
            "the decoder beside the visual part": {"visual_decoder_config": _DECODER, **_tower(visual_decoder_config=DROP)},
            "one MLP without gates": _decoder(swiglu=False),
            "gates not by default": _decoder(swiglu=DROP),
            "norms inside": _decoder(subln=True),
            "norms inside, no gates": _decoder(subln=True, swiglu=False),
            "no bias of the keys": _decoder(k_bias=False),
            "no bias at all": _decoder(q_bias=False, k_bias=False, v_bias=False),
            "windows in all layers": _tower(fullatt_block_indexes=[]),
            "larger windows": _tower(window_size=16),
            "another patch": {"visual_config": {"patch_size": 4, "visual_decoder_config": {"image_decoder_config": {"patch_size": 4}}}},
            "one frame": {"visual_config": {"temporal_patch_size": 1,
                                            "visual_decoder_config": {"image_decoder_config": {"temporal_patch_size": 1}}}},
            "own tables": _tables(shared_codebook=False),
            "own sizes": _tables(shared_codebook=False, codebook_size=[32, 16, 8]),
            "no map before the codes": {"visual_config": {"vq_config": {"quant_conv": False, "codebook_dim": 10},
                                                          "visual_decoder_config": {"image_decoder_config": {"codebook_dim": 10}}}},
            "tables by default": _tables(decay=DROP, restart_unused_codes=DROP, commit_loss_ratio=DROP, quant_conv=DROP),
            "unused keys": _tower(rope_scaling=None, qformer={"layers": 2}),
        },
        refused={
            "no visual part": ({"visual_config": DROP}, "visual_config"),
            "another code": (_decoder(codebook_dim=5), "codebook_dim"),
            "another patch in the decoder": (_decoder(patch_size=3), "patch_size"),
            "another map": (_tables(quantizer_type="vq"), "quantizer_type"),
            "another width": (_tower(out_hidden_size=12), "out_hidden_size"),
            "another activation": (_decoder(hidden_act="relu", swiglu=False), "hidden_act"),
        },
        published=_published,
    ),
    "longcat-next-rq": Sweep(
        tiny=_CODES,
        options={
            "as it is": {},
            "own tables": {"shared_codebook": False},
            "own by default": {"shared_codebook": DROP},
            "own sizes": {"shared_codebook": False, "codebook_size": [32, 16, 8]},
            "no map": {"quant_conv": False, "in_channels": 6},
            "a map by default": {"quant_conv": DROP},
            "one level": {"depth": 1},
            "8 levels": {"depth": 8},
            "a wide code": {"codebook_dim": 20},
            "codes never restarted": {"restart_unused_codes": False},
            "restarted by default": {"restart_unused_codes": DROP, "decay": DROP},
            "a stronger commitment": {"commit_loss_ratio": 1.0},
            "its default": {"commit_loss_ratio": DROP, "vq_loss_ratio": DROP, "entropy_loss_ratio": DROP},
            "features rebuilt in training": {"feature_reconstruction_ratio": 0.5, "feature_decoder_config": {"layers": 2}},
        },
        refused={
            "another quantizer": ({"quantizer_type": "vq"}, "quantizer_type"),
            "a decay a level": ({"decay": [0.9] * 3}, "decay"),
            "a misspelt key": ({"codebook_dims": 6}, "codebook_dim"),
        },
        published=lambda state: {"model": state},
    ),
}  # fmt: skip
