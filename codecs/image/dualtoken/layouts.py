"""DualToken (songweii/DualToken @ 29e7c84d00, modeling/rqvaesigliptransformer/rqvaesiglip/modeling_rqvaesiglip.py)."""

from collections.abc import Mapping
from typing import Any

from ...layouts.configs import decoder_attention_levels, open_config, part, siglip_tower
from ...layouts.fields import TRANSFORMERS_KEYS, Fields
from ...layouts.keymap import Fuse, KeyMap, Rename, Row, Then, Unwrap, under, without_ones, without_prefix
from ...layouts.layout import Layout
from ...layouts.rq_keys import padded_tables
from ...layouts.vit_keys import KEY_BIAS, PROJECTION, SIGLIP_BLOCK, named_siglip
from ...layouts.vqgan_keys import LEVELS, RESAMPLE, taming_middle
from .model import DualTokenConfig


def _residual(c: Fields) -> tuple[dict[str, Any], int, int]:
    """One `RQBottleneck` or `RQBottleneck_ema`: quantizer, width of its latents, side of the cells."""
    c.one_of("bottleneck_type", {"rq": 0, "rq_ema": 0})  # they differ in when training updates the tables
    c.drop("ckpt_path")  # not read
    width, latent, code = c.take("embed_dim"), list(c.take("latent_shape")), list(c.take("code_shape"))
    folds = {a // b for a, b in zip(latent[:2], code[:2], strict=True)}
    if latent[2] != width or latent[0] % code[0] or latent[1] % code[1] or len(folds) > 1:
        raise ValueError(f"{c.name}: embed_dim {width}, latent_shape {latent} and code_shape {code} do not fit each other.")
    sizes, decay = c.take("n_embed"), c.take("decay", 0.99)
    decays = {float(d) for d in (decay if isinstance(decay, list) else [decay])}
    if len(decays) > 1:
        raise ValueError(f"{c.name}.decay is {decay}; one decay for all levels is supported.")
    out = {
        "kind": "residual_vq",
        "num_codebooks": code[2],
        "codebook_size": sizes,
        "shared_codebook": c.take("shared_codebook", False),
        "decay": decays.pop(),
        "commitment_weight": 1 / code[2],  # the authors take the mean over levels
        "kmeans_init": False,
        "replace_below": 0.1 if c.take("restart_unused_codes", True) else 0.0,  # authors: used by less than a row a batch
    }
    c.done()
    return out, width, folds.pop()


def _decoder(c: Fields) -> tuple[dict[str, Any], int]:
    c.drop("double_z", "in_channels")  # for an encoder that is not supported
    c.require("out_ch", 3)
    c.require("give_pre_end", False)
    width, mult, blocks = c.take("ch"), c.take("ch_mult", [1, 2, 4, 8]), c.take("num_res_blocks")
    side, wanted = c.take("resolution"), c.take("attn_resolutions")
    levels = decoder_attention_levels(side // 2 ** (len(mult) - 1), wanted, len(mult), range(1, len(mult)))
    out = {
        "widths": [width * m for m in mult],
        "blocks": blocks + 1,
        "attention_levels": list(levels),
        "dropout": float(c.take("dropout", 0.0)),
        "resample": "nearest_conv" if c.take("resamp_with_conv", True) else "nearest",
    }
    channels = c.take("decoder_in_channels")
    c.done()
    return out, channels


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    config = config["rqvaesiglip"] if isinstance(config.get("rqvaesiglip"), Mapping) else config
    c = open_config(config, "dualtoken")
    c.drop(*TRANSFORMERS_KEYS, "checkpointing", "ignore_keys", "decay")  # not read by the class
    name, towers = c.take("pretrained_model", "google/siglip-large-patch16-256"), part(c, "siglip", {})
    vision = dict(towers.take("vision", {})) or named_siglip(name, "dualtoken.pretrained_model")
    pool = vision.pop("vision_use_head", True)
    tower = siglip_tower(Fields(vision, "dualtoken.siglip.vision"), norm_out="affine" if pool else "none")
    c.require("hidden_size", tower["width"])
    c.require("image_size", tower["image_size"])
    semantic, semantic_dim, fold = _residual(part(c, "vq_sem"))
    pixel, pixel_dim, pixel_fold = _residual(part(c, "vq_pix"))
    if fold != pixel_fold:
        raise ValueError(f"dualtoken: cells of {fold} and {pixel_fold} positions on a side; both codes must have the same.")
    decoder, channels = _decoder(part(c, "ddconfig"))
    grid, weight = c.take("decoder_latent_shape", None), c.take("weight_shortcut", None)
    out = {
        "tower": tower,
        "pool": pool,
        "pixel_layer": c.take("layer_recon"),
        "semantic_layer": c.take("layer_sem"),
        "shortcut_layer": c.take("layer_shortcut", None),
        "shortcut_weight": 0.0 if weight is None else float(weight),
        "semantic_dim": semantic_dim,
        "pixel_dim": pixel_dim,
        "fold": fold,
        "semantic_quantizer": semantic,
        "pixel_quantizer": pixel,
        "decoder": decoder,
        "decoder_channels": channels,
        "decoder_grid": grid,
    }
    c.done()
    return out


_VISION = "siglip_model.vision_model."
_ROWS: tuple[Row, ...] = (
    *under(_VISION + "encoder.layers.{}.", "tower.blocks.{}.", SIGLIP_BLOCK),
    (_VISION + "embeddings.patch_embedding.*", "tower.patch_embed.*"),
    (_VISION + "embeddings.position_embedding.weight", "tower.positions"),
    (_VISION + "post_layernorm.*", "tower.norm_out.*"),
    (_VISION + "head.probe", "pool.query"),
    (_VISION + "head.attention.in_proj_{weight|bias}", "pool.attention.qkv.{weight|bias}"),
    (_VISION + "head.attention.out_proj.*", "pool.attention.out.*"),
    (_VISION + "head.layernorm.*", "pool.norm.*"),
    (_VISION + "head.mlp.fc1.*", "pool.mlp.0.*"),
    (_VISION + "head.mlp.fc2.*", "pool.mlp.2.*"),
    *under("prequant_sem.", "to_semantic.", PROJECTION),
    *under("prequant_pix.", "to_pixel.", PROJECTION),
    *under("prequant_shortcut.", "to_shortcut.", PROJECTION),
    *under("postquant_sem.", "from_semantic.", PROJECTION),
    *under("postquant_pix.", "from_pixel.", PROJECTION),
    ("post_quant_conv.{norm1|norm2|conv1|conv2}.*", "decoder_in.{norm1|norm2|conv1|conv2}.*"),
    ("post_quant_conv.nin_shortcut.*", "decoder_in.shortcut.*"),
    *LEVELS,
    *RESAMPLE,
    *taming_middle(),
    ("quantizer.**", "quantizer.**"),
)
#: The text tower, and parameters of SigLIP's loss.
_DROPPED = ("siglip_model.text_model.**", "siglip_model.{logit_scale|logit_bias}", KEY_BIAS)


def _tables(theirs: str, ours: str, quantizer: Any) -> Then:
    levels, shared = quantizer.num_codebooks, quantizer.shared_codebook
    return padded_tables(theirs, ours, table="weight", levels=levels, shared=shared, statistics=True)


def _keys(own: DualTokenConfig) -> KeyMap:
    pool = Fuse(("q", "k", "v"), "qkv", where="pool.attention.")
    unused = () if own.pool else (_VISION + "post_layernorm.**",)
    return KeyMap(
        Unwrap("state_dict"),
        without_prefix("module.", "rqvaesiglip."),
        _tables("quantizer_sem.codebooks.", "quantizer.first.", own.semantic_quantizer),
        _tables("quantizer_pix.codebooks.", "quantizer.second.", own.pixel_quantizer),
        Fuse(("q_proj", "k_proj", "v_proj"), "qkv", where=_VISION + "encoder.layers.{}.self_attn."),
        Fuse(("q", "k", "v"), "qkv", where="decoder.**."),
        Rename(_ROWS, also_drop=(*_DROPPED, *unused)),
        without_ones("pool.query"),
        Then(pool.write, pool.read),  # three maps here, one there
    )


LAYOUTS = (
    Layout(
        system="dualtoken",
        upstream="songweii/DualToken modeling/rqvaesigliptransformer/rqvaesiglip/modeling_rqvaesiglip.py RQVAESiglipModel",
        family="dualtoken",
        config=_config,
        keys=_keys,
    ),
)
