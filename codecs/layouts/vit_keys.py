"""Key tables of transformer blocks in spellings that several authors share, to the names of `codecs/layers/vit.py`; SigLIP's sizes."""

import re
from typing import Any

import torch

from .keymap import Row, State, Then, matches

#: Blocks in OpenCLIP's spelling (`ln_1`, `attn.in_proj_weight`, `mlp.c_fc`): TiTok, BSQ-ViT, KARL, ALIT.
BLOCK: tuple[Row, ...] = (
    ("ln_1.*", "attention_norm.*"),
    ("attn.in_proj_{weight|bias}", "attention.qkv.{weight|bias}"),
    ("attn.out_proj.*", "attention.out.*"),
    ("ln_2.*", "mlp_norm.*"),
    ("mlp.c_fc.*", "mlp.0.*"),
    ("mlp.c_proj.*", "mlp.2.*"),
    ("ls_1.gamma", "attention_scale"),
    ("ls_2.gamma", "mlp_scale"),
)

#: Blocks in timm's spelling (`norm1`, `attn.qkv`, `mlp.fc1`, `ls1`): ImageFolder, RobusTok.
TIMM_BLOCK: tuple[Row, ...] = (
    ("norm1.*", "attention_norm.*"),
    ("attn.qkv.*", "attention.qkv.*"),
    ("attn.proj.*", "attention.out.*"),
    ("norm2.*", "mlp_norm.*"),
    ("mlp.fc1.*", "mlp.0.*"),
    ("mlp.fc2.*", "mlp.2.*"),
    ("ls1.gamma", "attention_scale"),
    ("ls2.gamma", "mlp_scale"),
)

#: Blocks of transformers' SigLIP below `encoder.layers.{}.`, with q, k, v joined: TokenFlow, DualToken.
SIGLIP_BLOCK: tuple[Row, ...] = (
    ("layer_norm1.*", "attention_norm.*"),
    ("layer_norm2.*", "mlp_norm.*"),
    ("self_attn.qkv.*", "attention.qkv.*"),
    ("self_attn.out_proj.*", "attention.out.*"),
    ("mlp.fc1.*", "mlp.0.*"),
    ("mlp.fc2.*", "mlp.2.*"),
)

#: SigLIP's sizes by the word in their names: (width, layers, heads, hidden).
_SIGLIP = {"base": (768, 12, 12, 3072), "large": (1024, 24, 16, 4096), "so400m": (1152, 27, 16, 4304)}


def named_siglip(name: str, setting: str) -> dict[str, Any]:
    """The `vision` part of a config of transformers' SigLIP, from the end of a checkpoint's name; `setting` is named in the error."""
    found = re.search(r"siglip2?-(base|large|so400m)-patch(\d+)-(\d+)/?$", name)
    if not found:
        raise ValueError(f"{setting} is {name!r}; without its sizes it must end like 'siglip2-so400m-patch16-256'.")
    width, layers, heads, hidden = _SIGLIP[found[1]]
    return {
        "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads, "intermediate_size": hidden,
        "patch_size": int(found[2]), "image_size": int(found[3]),
    }  # fmt: skip


#: `codecs/layers/attention_projection.py` in the spelling that UniTok and DualToken share.
PROJECTION: tuple[Row, ...] = (
    ("norm1.*", "attention_norm.*"),
    ("norm2.*", "mlp_norm.*"),
    ("norm3.*", "linear_norm.*"),
    ("proj.*", "linear.*"),
    ("attn.qkv.weight", "attention.qkv.weight"),
    ("attn.{q_bias|v_bias}", "attention.{q_bias|v_bias}"),
    ("attn.proj.*", "attention.out.*"),
    ("mlp.norm.*", "gated.norm.*"),
    ("mlp.w0.*", "gated.gate.*"),
    ("mlp.w1.*", "gated.up.*"),
    ("mlp.w2.*", "gated.down.*"),
)

#: A buffer of zeros; any value adds the same to all scores of a query and cancels in the softmax.
KEY_BIAS = "**.attn.zero_k_bias"


def query_value_bias(where: str = "**.attn.") -> Then:
    """`q_bias` and `v_bias` of BEiT-like attention as one `qkv.bias`, with zeros for the keys, and back.

    A bias of the keys adds the same to all scores of a query and cancels in the softmax, so that none is written.

    Args:
        where: pattern of the prefix, with its dot; also of the `qkv.bias` that `write` splits.
    """

    def read(state: State) -> State:
        out = dict(state)
        for key in [k for k in state if matches(k, (where + "q_bias",))]:
            stem = key[: -len("q_bias")]
            q, v = out.pop(key), out.pop(stem + "v_bias")
            out.pop(stem + "zero_k_bias", None)
            out[stem + "qkv.bias"] = torch.cat([q, torch.zeros_like(q), v])
        return out

    def write(state: State) -> State:
        out = dict(state)
        for key in [k for k in state if matches(k, (where + "qkv.bias",))]:
            stem = key[: -len("qkv.bias")]
            q, _, v = out.pop(key).chunk(3)
            out |= {stem + "q_bias": q.clone(), stem + "v_bias": v.clone()}
        return out

    return Then(read, write)
