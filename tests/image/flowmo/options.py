"""FlowMo: its YAML, with a size of a few numbers in place of the fixed one."""

from typing import Any

from image_cases import enliven
from layout_options import DROP, Sweep
from wrapped_states import State, average_beside


def _model(**values: Any) -> dict[str, Any]:
    return {"model": values}


def _sampling(**values: Any) -> dict[str, Any]:
    return {"eval": {"sampling": values}}


def _published(state: State) -> State:
    return average_beside(state, "model_ema_state_dict", "model_state_dict")


SWEEPS = {
    "flowmo": Sweep(
        tiny={
            "model": {
                "enable_mup": True, "patch_size": 4, "mup_width": 6, "enc_mup_width": 4, "quantization_type": "lfq", "code_length": 5,
                "context_dim": 6, "codebook_size_for_entropy": 3, "entropy_loss_weight": 0.0025, "commit_loss_weight": 0.000625,
                "enc_depth": 1, "dec_depth": 1, "enable_cfg": True, "posttrain_sample": False,
            },
            "data": {"image_size": 16},
            "eval": {"sampling": {"sample_steps": 3, "schedule": "pow_0.25", "cfg": 1.5, "mode": "rf", "cfg_interval": "(.17,1.02)"}},
            "shrunk": {
                "dit_b_4": {
                    "hidden_size": 32, "mlp_ratio": 2.0, "num_heads": 2, "axes_dim": [4, 4, 8], "theta": 10000, "qkv_bias": True,
                },
            },
        },
        options={
            "as it is": {},
            "deeper": _model(enc_depth=2, dec_depth=3),
            "one width for both": _model(enc_mup_width=None),
            "the width as an argument": {"width": 4},
            "one id a token": _model(context_dim=3),
            "three ids a token": _model(context_dim=9),
            "wider ids": _model(context_dim=10, codebook_size_for_entropy=5),
            "more tokens": _model(code_length=8),
            "another patch": _model(patch_size=8),
            "larger pictures": {"data": {"image_size": 24}},
            "no biases": {"shrunk": {"dit_b_4": {"qkv_bias": False}}},
            "even steps": _sampling(schedule="linear"),
            "no guidance": _sampling(cfg=1.0),
            "guidance at all times": _sampling(cfg_interval=None),
            "no word of the sampling": {"eval": DROP},
            "what only training reads": _model(fix_initial_norms=True, fix_norm_mode="l2", ema_decay=0.9999, posttrain_sample_k=8)
            | {"opt": {"lr": 1e-4}, "trainer": {"log_every": 100}, "global_seed": 0},
        },
        refused={
            "a posterior": (_model(quantization_type="kl"), "quantization_type"),
            "channels that do not divide": (_model(context_dim=7), "context_dim"),
            "another attention": (_model(enable_mup=False), "enable_mup"),
            "an unknown schedule": (_sampling(schedule="cosine"), "schedule"),
            "a misspelt key": (_model(code_lenght=3), "code_length"),
        },
        enliven=enliven,
        published=_published,
    )
}  # fmt: skip
