"""FlowMo (kylesargent/FlowMo @ d15029f7ff): flowmo/configs/base.yaml, and a checkpoint with averaged weights, which are taken."""

import ast
from collections.abc import Mapping
from typing import Any

from ...layouts.configs import part
from ...layouts.fields import FOLDER_KEYS, Fields
from ...layouts.keymap import KeyMap, Rename, Row, Unwrap, without_prefix
from ...layouts.layout import Layout
from .model import FlowMoConfig, power_of

_SYSTEM = "flowmo"
#: `dit_b_4`, the only size that the authors' class takes; its widths count for a width of 4.
_SIZE = {"hidden_size": 768, "mlp_ratio": 4.0, "num_heads": 12, "axes_dim": [8, 28, 28], "theta": 10000, "qkv_bias": True}


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    top = Fields(config, _SYSTEM)
    top.drop(*FOLDER_KEYS, "global_seed", "opt", "trainer")
    model, data = part(top, "model"), part(top, "data", {})
    size = _SIZE | part(top, "shrunk", {}).take("dit_b_4", {})
    width = model.take("mup_width", 6)
    width = top.take("width", width)
    model.require("enable_mup", True)
    model.require("quantization_type", "lfq")
    model.drop("fix_initial_norms", "fix_norm_mode", "enable_cfg", "ema_decay")  # of the training
    model.drop("posttrain_sample", "posttrain_sample_enable_cfg", "posttrain_sample_k")
    dim, bits = model.take("context_dim", 18), model.take("codebook_size_for_entropy", 9)
    if dim % bits or bits > 18:
        raise ValueError(f"{_SYSTEM}: context_dim {dim} must be a multiple of codebook_size_for_entropy {bits}, at most 18.")
    out = {
        "image_size": data.take("image_size", 256),
        "patch_size": model.take("patch_size", 4),
        "num_tokens": model.take("code_length", 256),
        "token_dim": dim,
        "group_bits": bits,
        "encoder": _stack(size, model.take("enc_mup_width", None) or width, model.take("enc_depth", 8)),
        "decoder": _stack(size, width, model.take("dec_depth", 16)),
        "quantizer": {
            "kind": "lfq",
            "bits": dim,
            "group_bits": bits,
            "bit_order": "lsb",
            "entropy": "grouped",
            "entropy_group_bits": bits,
            "entropy_weight": float(model.take("entropy_loss_weight", 0.0025)),
            "entropy_temperature": 0.2,  # their logits are half of ours, divided by 0.1
            "commitment_weight": float(model.take("commit_loss_weight", 0.000625)),
        },
        **_sampling(part(part(top, "eval", {}), "sampling", {})),
    }
    model.done()
    return out


def _stack(size: Mapping[str, Any], width: int, depth: int) -> dict[str, Any]:
    d = width * (size["hidden_size"] // 4)
    return {
        "width": d,
        "layers": depth,
        "heads": size["num_heads"],
        "hidden": int(d * size["mlp_ratio"]),
        "axes": [a // 4 * width for a in size["axes_dim"]],
        "theta": float(size["theta"]),
        "bias": size["qkv_bias"],
    }


def _sampling(c: Fields) -> dict[str, Any]:
    c.require("mode", "rf")
    interval = c.take("cfg_interval", "(.17,1.02)")
    low, high = (0.0, float("inf")) if interval is None else ast.literal_eval(interval) if isinstance(interval, str) else interval
    out = {
        "steps": c.take("sample_steps", 25),
        "power": power_of(c.take("schedule", "pow_0.25")),
        "guidance": float(c.take("cfg", 1.5)),
        "guided": [low / (1 + low), 1.0 if high == float("inf") else high / (1 + high)],  # noise levels as times
    }
    c.done()
    return out


def _stream(theirs: str, ours: str) -> list[Row]:
    return [
        (f"{theirs}_mod.lin.*", f"{ours}.modulation.*"),
        (f"{theirs}_attn.qkv.*", f"{ours}.qkv.*"),
        (f"{theirs}_attn.norm.{{query_norm|key_norm}}.scale", f"{ours}.{{query_norm|key_norm}}.scale"),
        (f"{theirs}_attn.proj.*", f"{ours}.out.*"),
        (f"{theirs}_mlp.{{0|2}}.*", f"{ours}.mlp.{{0|2}}.*"),
    ]


_BLOCK = "{encoder|decoder}.double_blocks.{}."
_ROWS: list[Row] = [
    ("{encoder|decoder}.img_in.*", "{encoder|decoder}.patch_in.*"),
    ("encoder.txt_in.bias", "encoder.query"),  # its tokens are zeros
    ("decoder.txt_in.*", "decoder.token_in.*"),
    ("decoder.time_in.in_layer.*", "decoder.time.mlp.0.*"),
    ("decoder.time_in.out_layer.*", "decoder.time.mlp.2.*"),
    ("encoder.final_layer_txt.linear.*", "encoder.head.*"),
    ("decoder.final_layer_img.linear.*", "decoder.head.*"),
    ("decoder.final_layer_img.adaLN_modulation.1.*", "decoder.modulation.*"),
    *_stream(_BLOCK + "img", "{encoder|decoder}.blocks.{}.patches"),
    *_stream(_BLOCK + "txt", "{encoder|decoder}.blocks.{}.tokens"),
]


def _unused(own: FlowMoConfig) -> list[str]:
    """Weights of the authors' file that change neither ids nor pixels."""
    ends = ("attn.norm.query_norm.scale", "attn.proj.*", "mlp.{}.*")
    last = [
        f"{side}.double_blocks.{stack.layers - 1}.{stream}_{end}"
        for side, stack, stream in (("encoder", own.encoder, "img"), ("decoder", own.decoder, "txt"))
        for end in ends
    ]
    timeless = ["encoder.time_in.**", "encoder.txt_in.weight", "encoder.double_blocks.{}.{img_mod|txt_mod}.**"]
    finals = ["encoder.final_layer_img.**", "decoder.final_layer_txt.**", "encoder.final_layer_txt.adaLN_modulation.**"]
    return [*last, *timeless, *finals]


def _keys(own: FlowMoConfig) -> KeyMap:
    return KeyMap(
        Unwrap("model_ema_state_dict", "model_state_dict"),
        without_prefix("module.", "_orig_mod."),
        Rename(_ROWS, also_drop=_unused(own)),
    )


LAYOUTS = (Layout(system=_SYSTEM, upstream="kylesargent/FlowMo flowmo/models.py FlowMo", family="flowmo", config=_config, keys=_keys),)
