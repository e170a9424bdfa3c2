"""TA-Tok: the arguments of its class, with a SigLIP of a few numbers."""

from typing import Any

import torch
from image_cases import enliven
from layout_options import DROP, Sweep


def _codes(**change: Any) -> dict[str, Any]:
    return {"bottleneck": {"args": {"regularizer": {"args": change}}}}


def _spread(tok: Any) -> None:
    """Lively weights, and latents of mean 0 and deviation 1, so that several codes win."""
    enliven(tok)
    with torch.no_grad():
        size = tok.spec.image_size
        z = tok.encode_latents(torch.rand(4, 3, *size, generator=torch.Generator().manual_seed(2)))
        tok.to_code.weight.div_(z.std((0, 2))[:, None])
        tok.to_code.bias.sub_(z.mean((0, 2))).div_(z.std((0, 2)))


def _write(tok: Any) -> dict[str, Any]:
    """The authors' keys, with the parts that a file holds and these ids do not need."""
    from tokenzoo.zoo.convert import converter

    layout = converter("ta-tok")
    state = layout.write(tok.state_dict(), tok.config)
    width = tok.config.tower.width
    at = f"encoder.encoder.layers.{tok.config.tower.layers}.layer_norm1"
    last = {f"{at}.{p}": torch.ones(width) for p in ("weight", "bias")}
    more = {"encoder.post_layernorm.weight": torch.ones(width), "encoder.head.probe": torch.ones(1, 1, width)}
    scale = {"scale_layer.shift": torch.full((1, 3, 1, 1), 0.5), "scale_layer.scale": torch.full((1, 3, 1, 1), 0.5)}
    return state | last | more | scale


SWEEPS = {
    "ta-tok": Sweep(
        tiny={
            "bottleneck": {
                "name": "bottleneck",
                "args": {
                    "bottleneck_dim": 6, "norm": "none",
                    "regularizer": {"name": "simvq", "args": {"codebook_size": 24, "l2_normalized": True}},
                },
            },
            "bottleneck_token_num": 9, "input_size": 12, "teacher": "x", "input_type": "quant", "pool_scale": 1, "decoder_depth": 1,
            "select_layer_id": -2,
            "teacher_config": {
                "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 12,
                "patch_size": 4,
            },
            "decoder_config": {"intermediate_size": 24, "num_attention_heads": 2, "num_patches": 4},
        },
        options={
            "as it is": {},
            "codes of any length": _codes(l2_normalized=False),
            "their default": _codes(l2_normalized=DROP),
            "drawn in training": _codes(stochastic=True, stochastic_temperature=0.1),
            "other codes": _codes(codebook_size=10) | {"bottleneck": {"args": {"bottleneck_dim": 4}}},
            "pooled by three": {"pool_scale": 3, "input_size": 36, "teacher_config": {"image_size": 36}},
            "pooled by two": {"pool_scale": 2, "input_size": 28, "teacher_config": {"image_size": 28}},
            "the last layer": {"select_layer_id": -1},
            "a layer from the front": {"select_layer_id": 1},
            "three layers": {"teacher_config": {"num_hidden_layers": 3}},
            "a deeper decoder": {"decoder_depth": 2},
            "a table of the grid's size": {"decoder_config": {"num_patches": 9}},
            "wider heads": {"teacher_config": {"num_attention_heads": 1}},
            "a size that no patch divides": {"input_size": 14, "teacher_config": {"image_size": 14}},
            "what the class does not read": {"input_type": "indices", "bottleneck_token_num": DROP},
        },
        refused={
            "a layer that is not there": ({"select_layer_id": -3}, "select_layer_id"),
            "pictures of another size": ({"input_size": 16}, "input_size"),
            "no maps around the codes": ({"bottleneck": {"args": {"bottleneck_dim": 0}}}, "bottleneck_dim"),
            "another regularizer": ({"bottleneck": {"args": {"regularizer": {"name": "vq"}}}}, "name"),
            "a ViT of unknown size": ({"teacher_config": DROP}, "siglip2-so400m"),
            "a pooling larger than the grid": ({"pool_scale": 4}, "pool 4"),
        },
        enliven=_spread,
        write=_write,
        published=lambda state: {"model": {"sd": state}},
    )
}  # fmt: skip
