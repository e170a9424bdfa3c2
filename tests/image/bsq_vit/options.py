"""BSQ-ViT; its files hold averaged weights before raw ones, behind the prefixes of wrappers."""

import torch
from layout_options import DROP, Sweep
from wrapped_states import other

_VIT = {"image_size": 16, "patch_size": 8, "width": 16, "layers": 1, "heads": 2, "mlp_ratio": 4, "drop_rate": 0.0}
_SIDE = _VIT | {"dim_ffn_output": 12}


def _published(state):
    state = state | {"quantize.basis": torch.arange(18), "quantize.group_basis": torch.arange(9)}
    raw = {f"module.{k}": v for k, v in other(state).items()}
    average = {f"module.module.{k}": v for k, v in state.items()}
    return {"iter": 9, "state_dict": raw, "ema_state_dict": average, "config": {}, "args": {}}


SWEEPS = {
    "bsq-vit": Sweep(
        tiny={
            "vitconfig": _SIDE, "embed_dim": 18, "embed_group_size": 9, "l2_norm": True, "persample_entropy_compute": "analytical",
            "post_q_l2_norm": True, "logit_laplace": False, "beta": 0.0, "clamp_range": [-1, 1],
        },
        options={
            "as it is": {},
            "a decoder of its own": {"dvitconfig": _SIDE | {"width": 24, "layers": 2, "heads": 3}},
            "36 bits": {"embed_dim": 36, "embed_group_size": 1},
            "few bits": {"embed_dim": 6},
            "codes of 1 and -1": {"post_q_l2_norm": False},
            "latents as they come": {"l2_norm": DROP},
            "pixels 0..1, by default": {"clamp_range": DROP},
            "location and scale": {"logit_laplace": True, "clamp_range": [0, 1]},
            "entropy of groups": {"persample_entropy_compute": "group"},
            "another temperature": {"inv_temperature": 0.5, "gamma": 2.0, "zeta": 0.3},
            "masked": {"vitconfig": {"mask_type": "block-causal", "mask_block_size": 2}},
            "gains, no first norm": {"vitconfig": {"ls_init_value": 0.1, "ln_pre": False}},
            "no head": {"vitconfig": {"use_ffn_output": False}},
            "no last norm": {"vitconfig": {"ln_post": False}},
            "a wide picture": {"vitconfig": {"image_size": [16, 24]}},
            "loading another file": {"ckpt_path": "x.pt", "ignore_keys": [], "grad_checkpointing": True},
        },
        refused={
            "video": ({"vitconfig": {"num_frames": 8}}, "num_frames"),
            "another activation": ({"vitconfig": {"act_layer": "quick_gelu"}}, "act_layer"),
            "two patches": ({"dvitconfig": _SIDE | {"patch_size": 4}}, "patch_size"),
            "a table": ({"n_embed": 8}, "n_embed"),
        },
        published=_published,
    )
}  # fmt: skip
