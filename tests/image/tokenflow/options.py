"""TokenFlow with its three teachers. A published file holds averages, and of SigLIP more than is used."""

from typing import Any

import torch
from image_cases import lively
from layout_options import DROP, Sweep

_SIDE = {"ch": 32, "num_res_blocks": 1}
CLIP: dict[str, Any] = {
    "teacher": "clipb_224",
    "teacher_config": {
        "hidden_size": DROP, "intermediate_size": DROP, "num_hidden_layers": DROP, "num_attention_heads": DROP, "image_size": DROP,
        "input_resolution": 8, "patch_size": 2, "width": 24, "layers": 2, "heads": 2, "output_dim": 12,
    },
    "shrunk": {"image_size": 8, "scales": [1, 2, 4], "decoder_out_dim": 12},
}  # fmt: skip
VITAMIN: dict[str, Any] = {
    "teacher": "vitamin_xlarge_256",
    "teacher_config": {
        "hidden_size": DROP, "intermediate_size": DROP, "num_hidden_layers": DROP, "num_attention_heads": DROP, "image_size": DROP,
        "patch_size": DROP, "stem_width": 12, "conv_widths": [8, 16], "conv_blocks": [2, 3], "width": 24, "layers": 2, "heads": 2,
    },
    "encoder_ch_mult": [1, 1, 1, 1, 1], "decoder_ch_mult": [1, 1, 1, 1, 1],
    "shrunk": {"image_size": 32, "scales": [1, 2]},
}  # fmt: skip


def _published(state: dict) -> dict:
    state = {**lively(state), "quantize.codebook_used": torch.zeros(16)}
    layers = [k for k in state if ".encoder.layers.0." in k]
    if layers:  # the whole of SigLIP
        last = 1 + max(int(k.split(".layers.")[1].split(".")[0]) for k in state if ".encoder.layers." in k)
        state |= {k.replace(".layers.0.", f".layers.{last}."): torch.randn_like(state[k]) for k in layers}
        stem = layers[0].split("encoder.layers.")[0]
        state |= {f"{stem}head.probe": torch.ones(1, 1, 24), f"{stem}post_layernorm.weight": torch.ones(24)}
        state |= {f"scaling_layer.{n}": torch.full((1, 3, 1, 1), 0.5) for n in ("shift", "scale")}
    raw = {k: torch.randn_like(v) for k, v in state.items()}
    training = {"optimizer": {"state": {}}, "discriminator": {"main.0.weight": torch.ones(2, 3, 4, 4)}, "steps": 5}
    return {"ema": state, "model": raw, **training}


def _write(tok: Any) -> dict:
    """Keys of the semantic decoder's attention have no bias there; one would add the same to all scores of a query."""
    from tokenzoo.zoo.convert import converter

    with torch.no_grad():
        for block in tok.semantic_decoder.blocks:
            block.attention.qkv.bias.chunk(3)[1].zero_()
    return converter("tokenflow").write(tok.state_dict(), tok.config)


SWEEPS = {
    "tokenflow": Sweep(
        tiny={
            "teacher": "siglip_384", "codebook_size": 16, "codebook_embed_dim": 4, "semantic_code_dim": 6, "encoder_ch_mult": [1, 1],
            "decoder_ch_mult": [1, 1], "z_channels": 8, "encoder": _SIDE, "decoder": _SIDE,
            "teacher_config": {
                "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 12,
                "patch_size": 4,
            },
            "shrunk": {"scales": [1, 2, 3], "decoder_depth": 1, "num_heads": 2, "decoder_out_dim": 10},
        },
        options={
            "as it is": {},
            "pictures of another size": {"shrunk": {"out_size": 15}},
            "other scales": {"shrunk": {"scales": [1, 3]}},
            "an enhanced decoder": {"enhanced_decoder": True},
            "wider codes": {"codebook_embed_dim": 8, "semantic_code_dim": 12},
            "dropout": {"dropout_p": 0.1},
            "losses": {"commit_loss_beta": 0.25, "codebook_show_usage": False},
            "a deeper semantic decoder": {"shrunk": {"decoder_depth": 2}},
            "three levels": {"encoder_ch_mult": [1, 1, 1], "decoder_ch_mult": [1, 1, 1]},
            "interpolation, which is CLIP's alone": {"infer_interpolate": True},
            "CLIP": CLIP,
            "CLIP at a larger size": {**CLIP, "infer_interpolate": True, "shrunk": {"image_size": 12, "scales": [1, 2, 6]}},
            "CLIP with an enhanced decoder": {**CLIP, "enhanced_decoder": True},
            "ViTamin": VITAMIN,
            "ViTamin with an enhanced decoder": {**VITAMIN, "enhanced_decoder": True},
        },
        refused={
            "no norm": ({"codebook_l2_norm": False}, "codebook_l2_norm"),
            "another teacher": ({"teacher": "dinov2"}, "teacher"),
            "scales that the teacher does not fill": ({"shrunk": {"scales": [1, 2]}}, "last scale"),
            "a misspelt key": ({"codebook_dim": 4}, "codebook_embed_dim"),
        },
        published=_published,
        write=_write,
    ),
}  # fmt: skip
