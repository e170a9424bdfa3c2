"""VFMTok: the arguments of `ModelArgs` and the YAML of both transformers; DINOv2 lies in a file of its own."""

import torch
from layout_options import Sweep

_SHARED = {"layer_type": "normal", "image_size": 16, "patch_size": 4, "dim": 32, "depth": 2, "n_carrier": 4, "num_head": 2,
           "mlp_dim": 48, "dim_head": 16, "dropout": 0.1}  # fmt: skip
_DINO = {
    "target": "vfmtok.modules.encoders.pretrained_enc_arch.SelfSupervisedCondtionEmbedder", "is_trainable": False,
    "params": {"pretrained_enc_arch": "dinov2_vitl14_reg", "pretrained_enc_path": "dino.pth", "pretrained_enc_withproj": False,
               "proj_dim": 1024},
}  # fmt: skip
_TOWER = {"width": 24, "layers": 4, "heads": 2, "hidden": 96, "image_size": 20, "patch_size": 4}


def both(**change):
    """A change of both transformers."""
    return {"transformer_config": {"encoder_config": {"params": change}, "decoder_config": {"params": change}}}


_DINO_KEYS = "encode_transformer.backbone.pretrained_encoder."


def published(state):
    """The authors' file, with what only training uses, and beside it DINOv2's."""
    tower = {k: v for k, v in state.items() if k.startswith(_DINO_KEYS)} | {_DINO_KEYS + "mask_token": torch.zeros(1, 24)}
    more = {"decode_transformer.mask_dino": torch.zeros(1, 1, 32), "decode_transformer.norm_post2.weight": torch.zeros(32)}
    more |= {"decode_transformer.proj.bias": torch.zeros(24), "slot_quantize.codebook_used": torch.zeros(9)}
    return {"ema": {k: v for k, v in state.items() if k not in tower} | more, "model": {}, "steps": 3} | tower


SWEEPS = {
    "vfmtok": Sweep(
        tiny={
            "codebook_size": 24,
            "codebook_slots_embed_dim": 4,
            "z_channels": 32,
            "decoder_ch_mult": [1, 1, 2],
            "transformer_config": {
                "encoder_config": {
                    "target": "vfmtok.core.layers.Encoder",
                    "params": _SHARED | {"in_channels": 24, "enc_n_points": 2, "visual_encoder_config": _DINO},
                },
                "decoder_config": {"target": "vfmtok.core.layers.Decoder", "params": _SHARED},
            },
            "shrunk": {"ch": 32, "encoder_heads": 8, "levels": [0, 1, 2, 3], "tower": _TOWER},
        },
        options={
            "as it is": {},
            "a larger picture": both(image_size=24),
            "the grid of the tables": both(image_size=96),
            "the tower's own grid": both(image_size=20),
            "more queries": both(n_carrier=9),
            "many queries": both(n_carrier=16),
            "one layer": both(depth=1),
            "more heads": both(num_head=4),
            "wider MLPs": both(mlp_dim=100),
            "codes of any length": {"codebook_l2_norm": False},
            "wider codes": {"codebook_slots_embed_dim": 6, "codebook_size": 12},
            "another decoder": {"decoder_ch_mult": [1, 2, 2]},
            "training": {"commit_loss_beta": 0.5, "dropout_p": 0.1, "entropy_loss_ratio": 0.1, "codebook_show_usage": True},
            "more samples": {"transformer_config": {"encoder_config": {"params": {"enc_n_points": 3}}}},
        },
        refused={
            "another tower": (
                {
                    "transformer_config": {
                        "encoder_config": {"params": {"visual_encoder_config": {"params": {"pretrained_enc_arch": "moco"}}}}
                    }
                },
                "pretrained_enc_arch",
            ),
            "another kind of layer": (both(layer_type="cross"), "layer_type"),
            "two sizes": ({"transformer_config": {"decoder_config": {"params": {"image_size": 32}}}}, "image_size"),
            "patches that the decoder does not make": (both(patch_size=8), "enlarges by"),
            "codes of another width": ({"z_channels": 48}, "z_channels"),
            "queries without a grid": (both(n_carrier=5), "square"),
        },
        published=published,
    )
}
