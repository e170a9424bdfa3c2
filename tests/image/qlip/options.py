"""QLIP: config.json of `QLIPConfig`; the published files hold the text tower and tables of angles too."""

import torch
from layout_options import DROP, Sweep

_PART = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 16, "patch_size": 4,
    "hidden_act": "gelu", "layer_norm_eps": 1e-6, "q_bias": True, "k_bias": False, "v_bias": True, "subln": True, "swiglu": True,
    "rope": True,
}  # fmt: skip
_CODES = {
    "embed_dim": 28, "group_size": 1, "input_format": "blc", "persample_entropy_compute": "analytical", "l2_norm": True,
    "inv_temperature": 1.0,
}  # fmt: skip


def both(**change):
    """A change of both transformers."""
    return {"vision_config": change, "decoder_config": change}


def published(state):
    """The state dict of the authors' class, which the file holds as it is."""
    angles = {f"{a}.rope.{b}": torch.zeros(16, 8) for a in ("vision_model", "vision_decoder") for b in ("freqs_cos", "freqs_sin")}
    block = {"vision_model.encoder.layers.0.self_attn.rope.freqs_cos": torch.zeros(16, 8)}
    texts = {f"text_model.{k}": torch.zeros(4) for k in ("final_layer_norm.weight", "encoder.layers.0.self_attn.q_proj.weight")}
    contrast = {k: torch.zeros(4, 4) for k in ("text_projection.weight", "vision_model.post_layernorm.weight")}
    return state | angles | block | texts | contrast | {"logit_scale": torch.tensor(2.6592)}


SWEEPS = {
    "qlip": Sweep(
        tiny={
            "architectures": ["QLIPModel"], "model_type": "clip", "projection_dim": 8, "logit_scale_init_value": 2.6592,
            "text_config": {"hidden_size": 8, "num_hidden_layers": 1}, "vision_projection_bias": True, "text_projection_bias": False,
            "vision_config": _PART | {
                "model_type": "clip_vision_model", "quantizer": "bsq", "quantizer_l2_norm": True, "quantizer_embed_type": "mlp",
                "hidden_size_post_q": 16, "quantizer_cfg": _CODES,
            },
            "decoder_config": _PART | {"model_type": "clip_decoder_model"},
        },
        options={
            "as it is": {},
            "biases of all maps": both(k_bias=True),
            "biases of no map": both(q_bias=False, v_bias=False),
            "no inner norms": both(subln=False),
            "plain MLPs": both(swiglu=False),
            "plain MLPs, quick": both(swiglu=False, hidden_act="quick_gelu"),
            "plain MLPs, tanh": both(swiglu=False, hidden_act="gelu_new"),
            "no rotation": both(rope=False),
            "a larger grid": both(image_size=24),
            "defaults of the norms and biases": both(layer_norm_eps=DROP, q_bias=DROP, k_bias=DROP, v_bias=DROP),
            "a decoder of its own": {
                "vision_config": {"hidden_size_post_q": 24},
                "decoder_config": {"hidden_size": 24, "num_attention_heads": 3, "swiglu": False, "rope": False},
            },
            "the width left to the encoder's": {"vision_config": {"hidden_size_post_q": None}},
            "a decoder's config of all keys": {"decoder_config": {"quantizer": "none", "quantizer_cfg": {}, "hidden_size_post_q": 16}},
            "latents as they come": {"vision_config": {"quantizer_l2_norm": DROP}},
            "codes of 1 and -1": {"vision_config": {"quantizer_cfg": {"l2_norm": False, "beta": 0.5}}},
            "entropy of groups": {"vision_config": {"quantizer_cfg": {"persample_entropy_compute": "group", "group_size": 7}}},
            "weights of the entropy": {"vision_config": {"quantizer_cfg": {"gamma_0": 0.5, "gamma_1": 2.0, "inv_temperature": DROP}}},
            "no entropy": {"vision_config": {"quantizer_cfg": {"gamma_0": 0.0, "gamma_1": 0.0}}},
            "few bits": {"vision_config": {"quantizer_cfg": {"embed_dim": 6}}},
            "a key that the class does not know": {"vision_config": {"use_mask": True}},
        },
        refused={
            "no quantizer": ({"vision_config": {"quantizer": "none"}}, "quantizer"),
            "latents without a map": ({"vision_config": {"quantizer_embed_type": "identity"}}, "quantizer_embed_type"),
            "maps of codes": ({"vision_config": {"quantizer_cfg": {"input_format": "bchw"}}}, "input_format"),
            "two sizes": ({"decoder_config": {"image_size": 32}}, "image_size"),
            "two patches": ({"decoder_config": {"patch_size": 8}}, "patch_size"),
            "codes of another width": ({"decoder_config": {"hidden_size": 24, "num_attention_heads": 3}}, "hidden_size_post_q"),
            "another activation": (both(swiglu=False, hidden_act="relu"), "hidden_act"),
            "heads that cannot turn": (both(num_attention_heads=8), "multiple of 4"),
            "a part of the entropy": ({"vision_config": {"quantizer_cfg": {"gamma_0": 0.0}}}, "gamma_0"),
        },
        published=published,
    )
}  # fmt: skip
