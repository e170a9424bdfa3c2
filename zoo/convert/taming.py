"""taming-transformers' VQModel and GumbelVQ, and the IBQ models that keep its layout (SEED-Voken, Emu3.5).

CompVis/taming-transformers @ 3ba01b2416; TencentARC/SEED-Voken @ b9a17eac8e; baaivision/Emu3.5 @ 8fcf1da48f.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .authors import attention_levels, decoder_attention_levels, open_config, part, unwrap, use_ema
from .base import Converter
from .fields import Fields
from .taming_keys import taming_weights

#: Arguments of the Lightning classes that only training reads.
_TRAINER = (
    "lossconfig ckpt_path ignore_keys image_key colorize_nlabels monitor batch_resize_range scheduler_config "
    "lr_g_factor learning_rate resume_lr warmup_epochs scheduler_type min_learning_rate gradient_clip_val "
    "lr_drop_epoch lr_drop_rate use_ema stage sane_index_shape temperature_scheduler_config use_shared_epoch "
    "sche_type wpe wp wp0 max_iter wp_iter lr_drop_iter"
).split()


def stacks(c: Fields, *, moments: bool = False) -> dict[str, Any]:
    """The family's encoder, decoder and z_channels from taming's `ddconfig`."""
    widths, blocks, dropout = c.take("ch"), c.take("num_res_blocks"), c.take("dropout", 0.0)
    mult, resolution, wanted = c.take("ch_mult", [1, 2, 4, 8]), c.take("resolution"), c.take("attn_resolutions")
    with_conv = c.take("resamp_with_conv", True)
    c.require("in_channels", 3)
    c.require("out_ch", 3)
    c.require("give_pre_end", False)
    c.require("double_z", moments)  # taming's own default is True, which its VQ models cannot take
    z = c.take("z_channels")
    c.done()
    levels = len(mult)
    common = {"widths": [widths * m for m in mult], "dropout": float(dropout)}
    encoder = {
        **common,
        "stem_width": widths,
        "blocks": blocks,
        "resample": "conv" if with_conv else "average",
        "attention_levels": attention_levels(resolution, wanted, levels, range(levels - 1)),
    }
    decoder = {
        **common,
        "blocks": blocks + 1,
        "resample": "nearest_conv" if with_conv else "nearest",
        "attention_levels": decoder_attention_levels(resolution // 2 ** (levels - 1), wanted, levels, range(1, levels)),
    }
    return {"encoder": encoder, "decoder": decoder, "z_channels": z}


def legacy_vq(size: int, beta: float, **more: Any) -> dict[str, Any]:
    """taming's quantizer: with its "legacy" losses beta weighs the codebook term, not the commitment."""
    losses = {"commitment_weight": 1.0, "codebook_weight": beta}
    still = {"update": "gradient", "kmeans_init": False, "replace_below": 0.0}
    return {"kind": "vq", "codebook_size": size, **losses, **still, **more}


def _open(config: Mapping[str, Any], system: str, *classes: str) -> Fields:
    source = config.get("source")
    name = source.get("class", classes[0]) if isinstance(source, Mapping) else classes[0]
    if name not in classes:
        raise ValueError(f"{system}: the class {name!r} is not supported; {' or '.join(classes)} is.")
    c = open_config(config, system)
    if c.take("remap", None) is not None:
        raise ValueError(f"{system}: remap tables of indices are not supported; load without one.")
    c.drop("unknown_index", *_TRAINER)
    return c


def _vqgan(config: Mapping[str, Any]) -> dict[str, Any]:
    c = _open(config, "taming-vqgan", "VQModel", "VQNoDiscModel")
    parts = stacks(part(c, "ddconfig"))
    quantizer = legacy_vq(c.take("n_embed"), 0.25)
    embed_dim = c.take("embed_dim")
    c.done()
    return {**parts, "embed_dim": embed_dim, "quantizer": quantizer}


def _gumbel(config: Mapping[str, Any]) -> dict[str, Any]:
    c = _open(config, "taming-gumbel", "GumbelVQ")
    parts = stacks(part(c, "ddconfig"))
    embed_dim = c.take("embed_dim")
    if embed_dim != parts["z_channels"]:
        raise ValueError(f"taming-gumbel: embed_dim {embed_dim} and z_channels {parts['z_channels']} must be equal.")
    quantizer = {"kind": "gumbel", "codebook_size": c.take("n_embed"), "kl_weight": float(c.take("kl_weight", 1e-8))}
    c.done()
    return {**parts, "embed_dim": embed_dim, "quantizer": quantizer}


def _ibq(config: Mapping[str, Any]) -> dict[str, Any]:
    return _ibq_of(config, "ibq")


def _emu35(config: Mapping[str, Any]) -> dict[str, Any]:
    return _ibq_of(config, "emu3.5-ibq")


def _ibq_of(config: Mapping[str, Any], system: str) -> dict[str, Any]:
    c = _open(config, system, "IBQ")
    parts = stacks(part(c, "ddconfig"))
    c.drop("l2_normalize", "cosine_similarity")  # handed on, but the class never reads either
    entropy = c.take("use_entropy_loss", False)  # its weight stands in the loss's own config: 0.05 in all recipes
    quantizer = {
        "kind": "ibq",
        "codebook_size": c.take("n_embed"),
        "beta": float(c.take("beta", 0.25)),
        "entropy_weight": 0.05 if entropy else 0.0,
        "entropy_temperature": float(c.take("entropy_temperature", 0.01)),
        "sample_weight": float(c.take("sample_minimization_weight", 1.0)),
        "batch_weight": float(c.take("batch_maximization_weight", 1.0)),
    }
    embed_dim = c.take("embed_dim")
    c.done()
    return {**parts, "embed_dim": embed_dim, "quantizer": quantizer}


def _ibq_weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    table = ((r"quantize\.embedding\.weight", "quantizer.embed"),)
    return taming_weights(use_ema(unwrap(state, "state_dict")), more=table)


def _table_weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    return taming_weights(use_ema(unwrap(state, "state_dict")))


def _gumbel_weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    table = (
        (r"quantize\.proj\.(weight|bias)", r"quantizer.scores.\1"),
        (r"quantize\.embed\.weight", "quantizer.embed"),
    )
    out = taming_weights(use_ema(unwrap(state, "state_dict")), more=table)
    out["quantizer.scores.weight"] = out["quantizer.scores.weight"].flatten(1)  # a 1x1 convolution
    return out


CONVERTERS: tuple[Converter, ...] = (
    Converter(
        system="taming-vqgan",
        upstream="CompVis/taming-transformers taming/models/vqgan.py VQModel",
        family="vqgan",
        config=_vqgan,
        weights=_table_weights,
    ),
    Converter(
        system="taming-gumbel",
        upstream="CompVis/taming-transformers taming/models/vqgan.py GumbelVQ",
        family="vqgan",
        config=_gumbel,
        weights=_gumbel_weights,
    ),
    Converter(
        system="ibq",
        upstream="TencentARC/SEED-Voken src/IBQ/models/ibqgan.py IBQ",
        family="vqgan",
        config=_ibq,
        weights=_ibq_weights,
    ),
    Converter(
        system="emu3.5-ibq",
        upstream="baaivision/Emu3.5 src/vision_tokenizer/ibq.py IBQ",
        family="vqgan",
        config=_emu35,
        weights=_ibq_weights,
    ),
)
