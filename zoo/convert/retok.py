"""ReTok (zfu006/ReTok): the fields of `VQVitModelPlusArgs`, LlamaGen's convolutions, DETR-like layers."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .authors import open_config, unwrap
from .base import Converter, rename
from .fields import Fields
from .taming_keys import attention, residual, taming_weights

#: Widths, layers and heads of the size names.
_SIZES = {
    "tiny": (256, 4, 4), "small": (512, 6, 8), "base": (768, 12, 12), "large": (1024, 24, 16), "xl": (1280, 36, 20),
    "xxl": (1536, 48, 24), "xxxl": (2560, 48, 40),
}  # fmt: skip

#: Options with which the authors' class cannot run once it has redundant tokens, or that no published model uses.
_ONLY = {
    "use_lfq": False, "simvq": False, "codebook_transform": None, "stochastic": False, "with_prior_model": False,
    "multi_level_query_init": True, "learnable_1d_query_init": False, "rope_1d": False, "use_rope": False, "rope_2d": False,
    "last_level_2d_query_init": False, "multi_level_2d_query_init": False, "res_up_down_sample": False,
    "downsample_match_channel": False, "upsample_match_channel": False, "res_codebook_updown_sample": False,
    "downsample_improve": False,
}  # fmt: skip

#: What only training reads.
_TRAINING = (
    "codebook_show_usage", "entropy_loss_ratio", "bernoulli_sample", "eval_deterministic", "freeze_codebook",
    "stochastic_temperature", "fea_rec_loss_type", "fea_rec_loss_weight", "prior_model_config",
)  # fmt: skip


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "retok")
    small = Fields(c.take("shrunk", {}), "retok.shrunk")
    width, blocks = small.take("ch", 128), small.take("num_res_blocks", 2)
    sizes = {**_SIZES, **{k: (v["width"], v["num_layers"], v["num_heads"]) for k, v in small.take("model_sizes", {}).items()}}
    for key, value in _ONLY.items():
        if c.take(key, value) != value:
            raise ValueError(f"retok.{key} is {config[key]!r}; only {value!r} is supported.")
    c.drop(*_TRAINING)
    attend, dropout = c.take("use_attn", True), float(c.take("dropout_p", 0.0))
    mult = {side: c.take(f"{side}_ch_mult", [1, 1, 2, 2, 4]) for side in ("encoder", "decoder")}
    model_size, unit = c.take("model_size", "small"), c.take("codebook_l2_norm", True)

    def stack(side: str) -> dict[str, Any]:
        middle = ["residual", "attention", "residual"] if attend else ["residual", "residual"]
        levels = [len(mult[side]) - 1] if attend else []
        return {"widths": [width * m for m in mult[side]], "attention_levels": levels, "middle": middle, "dropout": dropout}

    def size(side: str) -> dict[str, int]:
        name = c.take(f"{side}_size", None) or model_size
        if name not in sizes:
            raise ValueError(f"retok.{side}_size is {name!r}; known: {', '.join(sizes)}.")
        return dict(zip(("width", "layers", "heads"), sizes[name], strict=True))

    c.drop("use_flash_attn")  # says which kernel; `_weights` sees the spelling
    adaptive, shuffle = c.take("adaptive_gn", False), c.take("d2s_up", False)
    out = {
        "image_size": small.take("image_size", 256),
        "encoder": {**stack("encoder"), "stem_width": width, "blocks": blocks},
        "decoder": {
            **stack("decoder"),
            "blocks": blocks + 1,
            "resample": "depth_to_space" if shuffle else "nearest_conv",
            "condition": "adaptive" if adaptive else "none",
        },
        "z_channels": c.take("z_channels", 256),
        "sampler": size("encoder"),
        "unsampler": size("decoder"),
        "qk_norm": c.take("use_qk_norm", False),
        "num_tokens": c.take("num_latent_tokens", 256),
        "first": small.take("first", 32),
        "learned_grid_queries": c.take("learnable_2d_query_init", False),
        "latent_dim": c.take("codebook_embed_dim", 8),
        "quantizer": {
            "kind": "vq",
            "codebook_size": c.take("codebook_size", 16384),
            "normalize": unit,
            "returns": "normalized" if unit else "raw",
            "commitment_weight": c.take("commit_loss_beta", 0.25),
            "update": "gradient",
            "kmeans_init": False,
            "replace_below": 0.0,
            "gradient": "rotation" if c.take("rot", False) else "straight_through",
        },
        "feature_after": c.take("distill_depth", None) or 0,
        "grid_features": c.take("encoder_2d_distill", False),
        "feature_dim": c.take("out_inner_dim", 768),
    }
    small.done()
    c.done()
    return out


_END = r"(weight|bias)"
_SIDE = {"s2to1encoder": "sampler", "s1to2decoder": "unsampler"}


def _transformer(theirs: str, ours: str) -> list[tuple[str, str]]:
    layer, new = rf"{theirs}\.transformer\.(\d+)\.", rf"{ours}.layers.\1."
    return [
        (rf"{layer}self_attn\.([qkv]|out)\.{_END}", rf"{new}self_attention.\2.\3"),
        (rf"{layer}multihead_attn\.([qkv]|out)\.{_END}", rf"{new}cross_attention.\2.\3"),
        (rf"{layer}self_attn\.([qk]_norm)\.{_END}", rf"{new}self_attention.\2.\3"),
        (rf"{layer}multihead_attn\.([qk]_norm)\.{_END}", rf"{new}cross_attention.\2.\3"),
        (rf"{layer}norm1\.{_END}", rf"{new}self_norm.\2"),
        (rf"{layer}norm2\.{_END}", rf"{new}cross_norm.\2"),
        (rf"{layer}norm3\.{_END}", rf"{new}mlp_norm.\2"),
        (rf"{layer}linear1\.{_END}", rf"{new}mlp.0.\2"),
        (rf"{layer}linear2\.{_END}", rf"{new}mlp.2.\2"),
        (rf"{theirs}\.(?:encoder|decoder)_embed\.{_END}", rf"{ours}.embed.\1"),
        (rf"{theirs}\.ln_pre\.{_END}", rf"{ours}.norm_in.\1"),
        (rf"{theirs}\.ln_post\.{_END}", rf"{ours}.norm_out.\1"),
        (rf"{theirs}\.conv_out\.{_END}", rf"{ours}.head.\1"),
        (rf"{theirs}\.positional_embedding", f"{ours}.grid_positions"),
        (rf"{theirs}\.latent_token_positional_embedding", f"{ours}.positions"),
        (rf"{theirs}\.latent_token_positional_embedding_comp", f"{ours}.redundant_positions"),
        (rf"{theirs}\.global_proj\.{_END}", rf"{ours}.query.\1"),
        (rf"{theirs}\.q_2d", f"{ours}.grid_queries"),
        (rf"{theirs}\.distill_mlp\.(\d)\.{_END}", rf"{ours}.features.\1.\2"),
    ]


def _weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    state = _split_attention(unwrap(state, "ema", "model", "state_dict"))
    conv = {k: v for k, v in state.items() if k.startswith(("encoder.", "decoder."))}
    table = [p for theirs, ours in _SIDE.items() for p in _transformer(theirs, ours)]
    table += [
        (rf"quant_conv\.{_END}", r"to_latent.\1"),
        (rf"post_quant_conv\.{_END}", r"from_latent.\1"),
        (rf"distill_mlp\.(\d)\.{_END}", r"features.\1.\2"),
        (r"quantize\.embedding\.weight", "quantizer.codebook.embed"),
    ]
    # recent ids, for display
    out = rename({k: v for k, v in state.items() if k not in conv}, table, dropped=[r"quantize\.codebook_used"])
    for key in ("to_latent.weight", "from_latent.weight", "sampler.head.weight"):
        out[key] = out[key].flatten(1)  # 1x1 convolutions
    for key, value in out.items():
        if key.endswith(("positions", "grid_queries")):
            out[key] = value[:, 0]
    return out | _convolutions(conv, config)


def _convolutions(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """LlamaGen's blocks; the decoder counts its levels from coarse to fine."""
    last = len(config.get("decoder_ch_mult", [1, 1, 2, 2, 4])) - 1
    flips = []
    for i in range(last + 1):
        flips += [
            (rf"decoder\.conv_blocks\.{i}\.(.*)", rf"decoder.levels.{last - i}.\1"),
            (rf"decoder\.adaptive\.{i}\.gamma\.{_END}", rf"decoder.levels.{last - i}.adaptive.gain.\1"),
            (rf"decoder\.adaptive\.{i}\.beta\.{_END}", rf"decoder.levels.{last - i}.adaptive.shift.\1"),
        ]
    state = rename(state, [(r"encoder\.conv_blocks\.(.*)", r"encoder.levels.\1"), *flips, (r"(.*)", r"\1")])
    state = {k.replace(".res.", ".block.") if ".levels." in k else k: v for k, v in state.items()}
    if any(".mid.2." in k for k in state):
        middle = residual(r"mid\.0", "middle.0") + attention(r"mid\.1", "middle.1") + residual(r"mid\.2", "middle.2")
    else:
        middle = residual(r"mid\.0", "middle.0") + residual(r"mid\.1", "middle.1")
    kept = ((rf"decoder\.levels\.(\d+)\.adaptive\.(gain|shift)\.{_END}", r"decoder.levels.\1.adaptive.\2.\3"),)
    return taming_weights(state, middle=middle, more=kept)


def _split_attention(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Both spellings of attention (`nn.MultiheadAttention`, or one linear map for each part) to `q`, `k`, `v`, `out`."""
    out: dict[str, Tensor] = {}
    for key, value in state.items():
        stem, _, end = key.rpartition(".")
        if end in ("in_proj_weight", "in_proj_bias"):
            for part, piece in zip("qkv", torch.chunk(value, 3), strict=True):
                out[f"{stem}.{part}.{end.removeprefix('in_proj_')}"] = piece
        else:
            for theirs, ours in (("out_proj", "out"), ("wo", "out"), ("q_proj", "q"), ("k_proj", "k"), ("v_proj", "v")):
                if stem.endswith(f"_attn.{theirs}"):
                    key = f"{stem.removesuffix(theirs)}{ours}.{end}"
            out[key] = value
    return out


CONVERTERS = (
    Converter(
        system="retok", upstream="zfu006/ReTok VQVitModelPlus", family="retok", config=_config, weights=_weights
    ),
)
