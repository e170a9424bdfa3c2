"""ITER's Swin VQGAN."""

import torch
from image_cases import enliven
from layout_options import DROP, Sweep
from wrapped_states import average_beside


def _published(state: dict) -> dict:
    twice = {k.replace("decoder.", "generator.", 1): v for k, v in state.items() if k.startswith("decoder.")}
    index = {"encoder.blocks.5.swin_blks.0.residual_group.blocks.0.attn.relative_position_index": torch.zeros(16, 16).long()}
    masks = {"decoder.blocks.2.swin_blks.0.residual_group.blocks.1.attn_mask": torch.zeros(4, 16, 16)}
    return average_beside(state | twice | index | masks, "params_ema", "params")


SWEEPS = {
    "iter": Sweep(
        tiny={
            "n_embed": 24, "embed_dim": 8, "beta": 0.25,
            "ddconfig": {
                "in_channels": 3, "nf": 16, "emb_dim": 8, "ch_mult": [1, 2], "num_res_blocks": 1, "resolution": [16, 16],
                "swin_blk_num": 1, "swin_blk_depth": 2, "swin_dim": 32, "swin_window": 4, "global_blks": "swin",
            },
        },
        options={
            "as it is": {},
            "attention over heads": {"ddconfig": {"global_blks": "mhsa"}},
            "nothing in the middle": {"ddconfig": {"global_blks": "none"}},
            "windows by default": {"ddconfig": {"swin_window": DROP, "resolution": [32, 32]}},
            "one window": {"ddconfig": {"swin_window": 8}},
            "two stacks": {"ddconfig": {"swin_blk_num": 2}},
            "deeper stacks": {"ddconfig": {"swin_blk_depth": 3}},
            "other heads": {"ddconfig": {"num_heads": 4, "mlp_ratio": 2.0}},
            "three levels": {"ddconfig": {"ch_mult": [1, 2, 2], "swin_window": 2}},
            "two blocks a level": {"ddconfig": {"num_res_blocks": 2}},
            "default blocks": {"ddconfig": {"num_res_blocks": DROP}},
            "other codes": {"n_embed": 10, "embed_dim": 6, "ddconfig": {"emb_dim": 6}},
            "another commitment": {"beta": 1.0},
        },
        refused={
            "codes of another width": ({"embed_dim": 4}, "embed_dim"),
            "a misspelt key": ({"ddconfig": {"swin_depth": 2}}, "swin_blk_depth"),
        },
        enliven=enliven,
        published=_published,
    )
}  # fmt: skip
