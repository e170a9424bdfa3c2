"""ITER's restoration over its Swin VQGAN, in two files."""

import torch
from image_cases import enliven
from layout_options import DROP, Sweep


def _published(state: dict) -> dict:
    """The file of the VQGAN, and that of the whole class, which holds it again; each with its decoder twice, and with buffers."""
    vqgan = {k.removeprefix("vqgan."): v for k, v in state.items() if k.startswith("vqgan.")}
    vqgan |= {k.replace("decoder.", "generator.", 1): v for k, v in vqgan.items() if k.startswith("decoder.")}
    block = "swin_blks.0.residual_group.blocks"
    vqgan[f"encoder.blocks.8.{block}.1.attn_mask"] = torch.zeros(4, 16, 16)
    index = {f"token_refine_net.token_crit_net.swin_layers.{block}.0.attn.relative_position_index": torch.zeros(64, 64).long()}
    again = {f"vqgan.{k}": torch.full_like(v, 9) for k, v in vqgan.items()}  # what the authors' loader replaces
    own = {k: v for k, v in state.items() if not k.startswith("vqgan.")}
    return {"hq.params": vqgan, "lq.params": again | own | index}


SWEEPS = {
    "iter-restoration": Sweep(
        tiny={
            "LQ_stage": True, "scale_factor": 4, "codebook_params": [[32, 1024, 512]], "ch": 16, "swin_blk_num": 1, "swin_blk_depth": 2,
            "vqgan_opt": {
                "ckpt_path": "ITER_swinvqgan.pth", "n_embed": 24, "embed_dim": 16,
                "ddconfig": {
                    "in_channels": 3, "nf": 8, "emb_dim": 16, "ch_mult": [1, 1, 2, 2], "num_res_blocks": 1, "resolution": [64, 64],
                    "swin_blk_num": 1, "swin_blk_depth": 2, "swin_dim": 16, "swin_window": 4, "global_blks": "swin",
                },
            },
        },
        options={
            "as it is": {},
            "twice the size": {"scale_factor": 2},
            "the same size": {"scale_factor": 1},
            "eight times the size": {"scale_factor": 8},
            "scale by default": {"scale_factor": DROP},
            "the encoder alone": {"LQ_train_phase": "token_pred"},
            "refinement, by name": {
                "LQ_train_phase": "refine", "type": "ITER", "gt_resolution": 256, "norm_type": "gn", "act_type": "silu",
            },
            "another threshold": {"init_mask_threshold": 0.7, "gamma_type": "linear"},
            "fewer steps": {"T": 2, "temp_token": 0.5, "temp_mask": 2.0},
            "two stacks": {"swin_blk_num": 2},
            "deeper stacks": {"swin_blk_depth": 3},
            "a wider network": {"ch": 32},
            "other codes": {"vqgan_opt": {"n_embed": 10, "embed_dim": 32, "ddconfig": {"emb_dim": 32}}},
            "a VQGAN without windows": {"vqgan_opt": {"ddconfig": {"global_blks": "none"}}},
        },
        refused={
            "the VQGAN's stage": ({"LQ_stage": False}, "LQ_stage"),
            "a misspelt key": ({"scale_factors": 2}, "scale_factor"),
            "another stride": ({"vqgan_opt": {"ddconfig": {"ch_mult": [1, 2]}}}, "stride"),
        },
        shape=(3, 64, 64),
        enliven=enliven,
        published=_published,
    )
}  # fmt: skip
