"""ReTok (zfu006/ReTok): the fields of `VQVitModelPlusArgs`, LlamaGen's convolutions, DETR-like layers. `gigatok.py` shares it."""

from collections.abc import Mapping
from typing import Any

from ....layouts.configs import open_config
from ....layouts.fields import Fields
from ....layouts.keymap import Each, Fuse, KeyMap, Rename, Row, Then, Unwrap, pointwise, under
from ....layouts.layout import Layout
from ....layouts.llamagen_keys import FILES, llamagen_rows
from ....layouts.vqgan_keys import residual
from ..model import ReTokConfig

#: Widths, layers and heads of the size names.
_SIZES = {
    "tiny": (256, 4, 4), "small": (512, 6, 8), "base": (768, 12, 12), "large": (1024, 24, 16), "xl": (1280, 36, 20),
    "xxl": (1536, 48, 24), "xxxl": (2560, 48, 40),
}  # fmt: skip

#: Options that their authors call deprecated or untested, and that no published model uses.
_ONLY = {
    "use_lfq": False, "simvq": False, "codebook_transform": None, "stochastic": False, "with_prior_model": False, "rope_1d": False,
    "use_rope": False, "rope_2d": False, "last_level_2d_query_init": False, "multi_level_2d_query_init": False,
    "res_up_down_sample": False, "downsample_match_channel": False, "upsample_match_channel": False,
    "res_codebook_updown_sample": False, "downsample_improve": False,
}  # fmt: skip

#: Options of training alone.
_TRAINING = (
    "codebook_show_usage", "entropy_loss_ratio", "bernoulli_sample", "eval_deterministic", "freeze_codebook",
    "stochastic_temperature", "fea_rec_loss_type", "fea_rec_loss_weight", "prior_model_config",
)  # fmt: skip


def retok_config(config: Mapping[str, Any], system: str) -> dict[str, Any]:
    """Config fields from the arguments that both classes share; only ReTok's class has redundant tokens."""
    c = open_config(config, system)
    small = Fields(c.take("shrunk", {}), f"{system}.shrunk")
    small.drop("usage")  # length of a buffer of recent ids, for display
    width, blocks = small.take("ch", 128), small.take("num_res_blocks", 2)
    sizes = {**_SIZES, **{k: (v["width"], v["num_layers"], v["num_heads"]) for k, v in small.take("model_sizes", {}).items()}}
    for key, value in _ONLY.items():
        c.require(key, value)
    c.drop(*_TRAINING)
    attend, dropout = c.take("use_attn", True), float(c.take("dropout_p", 0.0))
    mult = {side: c.take(f"{side}_ch_mult", [1, 1, 2, 2, 4]) for side in ("encoder", "decoder")}
    model_size, unit, count = c.take("model_size", "small"), c.take("codebook_l2_norm", True), c.take("num_latent_tokens", 256)

    def stack(side: str) -> dict[str, Any]:
        middle = ["residual", "attention", "residual"] if attend else ["residual", "residual"]
        levels = [len(mult[side]) - 1] if attend else []
        return {"widths": [width * m for m in mult[side]], "attention_levels": levels, "middle": middle, "dropout": dropout}

    def size(side: str) -> dict[str, int]:
        name = c.take(f"{side}_size", None) or model_size
        if name not in sizes:
            raise ValueError(f"{system}.{side}_size is {name!r}; known: {', '.join(sizes)}.")
        return dict(zip(("width", "layers", "heads"), sizes[name], strict=True))

    c.drop("use_flash_attn")  # selects a kernel
    redundant = system == "retok"
    out = {
        "image_size": small.take("image_size", 256),
        "encoder": {**stack("encoder"), "stem_width": width, "blocks": blocks},
        "decoder": {
            **stack("decoder"),
            "blocks": blocks + 1,
            "resample": "depth_to_space" if c.take("d2s_up", False) else "nearest_conv",
            "condition": "adaptive" if c.take("adaptive_gn", False) else "none",
        },
        "z_channels": c.take("z_channels", 256),
        "sampler": size("encoder"),
        "unsampler": size("decoder"),
        "qk_norm": c.take("use_qk_norm", False),
        "num_tokens": count,
        "first": small.take("first", 32) if redundant else count,
        "queries": _queries(c, redundant),
        "prefix": redundant,
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


def _queries(c: Fields, redundant: bool) -> str:
    blocks, learned = c.take("multi_level_query_init", False), c.take("learnable_1d_query_init", False)
    if blocks and learned:
        raise ValueError(f"{c.name}: multi_level_query_init and learnable_1d_query_init exclude each other.")
    if redundant and not blocks:  # otherwise the authors' class makes no queries for redundant tokens
        raise ValueError(f"{c.name}.multi_level_query_init is False; redundant tokens need it.")
    return "blocks" if blocks else "learned" if learned else "mean"


def _transformer(theirs: str, ours: str, own: ReTokConfig) -> list[Row]:
    # with norms of queries and keys (or a fast kernel) one linear map for each, without `nn.MultiheadAttention`
    apart, joint = [], []
    for a, b in (("self_attn", "self_attention"), ("multihead_attn", "cross_attention")):
        apart += [(f"{a}.{{q|k|v}}_proj.*", f"{b}.{{q|k|v}}.*"), (f"{a}.{{q_norm|k_norm}}.*", f"{b}.{{q_norm|k_norm}}.*")]
        joint += [(f"{a}.in_proj_{{weight|bias}}", f"{b}.qkv.{{weight|bias}}")]
        joint += [(f"{a}.{'[wo|out_proj]' if own.qk_norm else '[out_proj|wo]'}.*", f"{b}.out.*")]
    layer: list[Row] = [
        *apart,
        *joint,
        ("norm1.*", "self_norm.*"),
        ("norm2.*", "cross_norm.*"),
        ("norm3.*", "mlp_norm.*"),
        ("linear1.*", "mlp.0.*"),
        ("linear2.*", "mlp.2.*"),
    ]
    rows: list[Row] = [
        *under("transformer.{}.", "layers.{}.", layer),
        ("encoder_embed.*" if ours == "sampler" else "decoder_embed.*", "embed.*"),
        ("ln_pre.*", "norm_in.*"),
        ("ln_post.*", "norm_out.*"),
        ("conv_out.*", "head.*"),
        ("positional_embedding", "grid_positions"),
        ("latent_token_positional_embedding", "positions"),
        ("latent_token_positional_embedding_comp", "redundant_positions"),
        ("global_proj.*", "query.*"),
        ("query_1d", "queries"),
        ("q_2d", "grid_queries"),
        ("distill_mlp.{}.*", "features.{}.*"),
    ]
    return under(f"{theirs}.", f"{ours}.", rows)


def retok_keys(own: ReTokConfig) -> KeyMap:
    """Rows of the convolutions: LlamaGen's, with other kinds of upsampling; its decoder numbers levels from coarse to fine."""
    downs, ups = len(own.encoder.widths), len(own.decoder.widths)
    rows: list[Row] = []
    for i in range(ups):
        theirs, ours = f"decoder.conv_blocks.{i}", f"decoder.levels.{ups - 1 - i}"
        if own.decoder.resample == "depth_to_space":
            rows.append((f"{theirs}.upsample.conv1.*", f"{ours}.resample.conv.*"))
        rows.append((f"decoder.adaptive.{i}.gamma.*", f"{ours}.adaptive.gain.*"))
        rows.append((f"decoder.adaptive.{i}.beta.*", f"{ours}.adaptive.shift.*"))
    rows += [
        ("quant_conv.*", "to_latent.*"),
        ("post_quant_conv.*", "from_latent.*"),
        ("distill_mlp.{}.*", "features.{}.*"),
        ("quantize.embedding.weight", "quantizer.codebook.embed"),
        ("quantize.codebook_used", None),  # recent ids, for display
        *_transformer("s2to1encoder", "sampler", own),
        *_transformer("s1to2decoder", "unsampler", own),
        *residual("mid.1", "middle.1"),
        *llamagen_rows(downs, ups),
    ]
    attention = Fuse(("q", "k", "v"), "qkv", where="{sampler|unsampler}.layers.{}.{self_attention|cross_attention}.")
    tables = "{grid_positions|positions|redundant_positions|queries|grid_queries}"
    return KeyMap(
        Unwrap(*FILES),
        Fuse(("q", "k", "v"), "qkv"),  # of the convolutions' attention
        Rename(rows),
        Then(attention.write, (lambda state: state) if own.qk_norm else attention.read),
        pointwise("{to_latent|from_latent|sampler.head}.weight", axes=2),
        Each(("{sampler|unsampler}." + tables,), lambda v: v[:, 0], lambda v: v[:, None]),
    )


LAYOUTS = (
    Layout(
        system="retok",
        upstream="zfu006/ReTok tokenizer/tokenizer_image/vq/vq_vit_model.py VQVitModelPlus",
        family="retok",
        config=lambda config: retok_config(config, "retok"),
        keys=retok_keys,
    ),
)
