"""Chameleon's VQGAN in transformers (`ChameleonVQVAE`, release v5.24.0): an encoder; in copies made for Anole also a decoder.

The authors' own file is taming's (`taming-vqgan`), and has a decoder.
"""

import warnings
from collections.abc import Mapping
from typing import Any

from ....layouts.configs import attention_levels, decoder_attention_levels, legacy_vq
from ....layouts.fields import FOLDER_KEYS, TRANSFORMERS_KEYS, Fields
from ....layouts.keymap import Fuse, KeyMap, Rename, State, Then
from ....layouts.layout import Layout
from ....layouts.vqgan_keys import LEVELS, RESAMPLE, TABLE, taming_middle
from ..model import VQGANConfig

#: Today's names, and those of the first conversions, which older files have besides or instead of them.
_OLD_NAMES = {
    "base_channels": "ch",
    "channel_multiplier": "ch_mult",
    "num_embeddings": "n_embed",
    "latent_channels": "z_channels",
    "double_latent": "double_z",
}


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Our config fields from those of `ChameleonVQVAEConfig`.

    The released class has no decoder. The class that Anole's copies were saved with has one, and the key `quant_state_dims` in its
    configs; for files with a decoder and without that key, set `"decoder": true`, a key of ours.
    """
    c = Fields(config, "chameleon_vqgan-hf")
    c.drop(*FOLDER_KEYS, *TRANSFORMERS_KEYS, "initializer_range")
    c.require("in_channels", 3)
    for key in ("out_channels", "out_ch"):
        c.require(key, 3)
    with_decoder = c.take("quant_state_dims", None) is not None
    with_decoder = c.take("decoder", with_decoder)
    width, mult = _either(c, "base_channels", 128), _either(c, "channel_multiplier", [1, 1, 2, 2, 4])
    size, z = _either(c, "num_embeddings", 8192), _either(c, "latent_channels", 256)
    if _either(c, "double_latent", False):
        raise ValueError("chameleon_vqgan-hf.double_latent is True; only False is supported: its quantizer takes no moments.")
    blocks, dropout, resolution = c.take("num_res_blocks", 2), float(c.take("dropout", 0.0)), c.take("resolution", 512)
    attends = c.take("attn_type", "vanilla") == "vanilla"
    wanted = (c.take("attn_resolutions", None) or []) if attends else []
    c.drop("attn_resolutions")
    levels = len(mult)
    middle = ["residual", "attention", "residual"] if attends else ["residual", "residual"]
    common = {"widths": [width * m for m in mult], "dropout": dropout, "middle": middle}
    down = attention_levels(resolution, wanted, levels, range(levels - 1))
    up = decoder_attention_levels(resolution // 2 ** (levels - 1), wanted, levels, range(1, levels))
    out = {
        "encoder": {**common, "stem_width": width, "blocks": blocks, "attention_levels": down},
        "decoder": {**common, "blocks": blocks + 1, "attention_levels": up} if with_decoder else None,
        "z_channels": z,
        "embed_dim": c.take("embed_dim", 256),
        "quantizer": legacy_vq(size, 0.25),
    }
    c.done(swallowed=True)
    return out


def _either(c: Fields, key: str, default: Any) -> Any:
    """A value under today's name or the old one; ValueError if both are given and differ."""
    old = _OLD_NAMES[key]
    before = c.take(old, None)
    now = c.take(key, default if before is None else before)
    if before is not None and before != now:
        raise ValueError(f"{c.name} has {key} = {now!r} and {old} = {before!r}, two names of one setting.")
    return now


def _keys(own: VQGANConfig) -> KeyMap:
    middle = taming_middle(with_attention="attention" in own.encoder.middle)
    rows = [*LEVELS, *RESAMPLE, *middle, *TABLE]
    if own.decoder is not None:
        return KeyMap(Fuse(("q", "k", "v"), "qkv"), Rename(rows))
    # the released class has no decoder, but still the convolution before it
    return KeyMap(Then(_without_decoder, lambda s: s), Fuse(("q", "k", "v"), "qkv"), Rename(rows, also_drop=("post_quant_conv.*",)))


def _without_decoder(state: State) -> State:
    """Leave out a decoder that the config does not declare, with a warning."""
    out = {k: v for k, v in state.items() if not k.startswith("decoder.")}
    if len(out) < len(state):
        warnings.warn("the file contains a decoder that its config does not declare; it is left out, ids are the same.", stacklevel=2)
    return out


LAYOUTS = (
    Layout(
        system="chameleon_vqgan-hf",
        upstream="huggingface/transformers models/chameleon ChameleonVQVAE",
        family="vqgan",
        config=_config,
        keys=_keys,
        model_type="chameleon_vqgan",
    ),
)
