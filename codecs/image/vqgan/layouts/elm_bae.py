"""ELM's binary autoencoder (Pepper-lll/LMforImageGeneration @ c2f29f0ac9, no licence stated): one list of blocks on each side."""

from collections.abc import Mapping
from typing import Any

from ....layers.vqgan import StackConfig
from ....layouts.configs import attention_levels, decoder_attention_levels, open_config
from ....layouts.keymap import Fuse, KeyMap, Rename, Row, State, Then, Unwrap, pointwise
from ....layouts.layout import Layout
from ..model import VQGANConfig
from .block_lists import decoder_entries, encoder_entries, side_rows


def _elm(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "elm-bae")
    c.require("n_channels", 3)
    c.require("quantizer", "binary")
    c.drop("beta")  # stored, but unused
    width, blocks, mult, size = c.take("nf"), c.take("res_blocks"), c.take("ch_mult"), c.take("img_size")
    wanted, dim, levels = c.take("attn_resolutions"), c.take("emb_dim"), len(mult)
    common = {"widths": [width * m for m in mult], "final_activation": "none"}
    encoder = {
        **common,
        "stem_width": width,
        "blocks": blocks,
        "attention_levels": attention_levels(size, wanted, levels, range(levels - 1)),
    }
    decoder = {
        **common,
        "blocks": int(blocks * c.take("gen_mul", 1.0)),
        "norm_first": c.take("norm_first", False),
        "attention_levels": decoder_attention_levels(size // 2 ** (levels - 1), wanted, levels, range(1, levels)),
    }
    quantizer = {
        "kind": "bernoulli",
        "bits": c.take("codebook_size"),
        "sample": not c.take("deterministic", False),
        "signed": c.take("use_tanh", False),
        "code_weight": float(c.take("code_weight", 0.0)),
        "double_sigmoid": True,
    }
    c.done()
    parts = {"encoder": encoder, "decoder": decoder, "z_channels": dim, "embed_dim": 0}
    return {**parts, "quantizer": quantizer, "value_range": [0.0, 1.0]}


_QUANTIZER: tuple[Row, ...] = (
    ("quantize.proj.0.*", "quantizer.in_proj.*"),
    ("quantize.embed.weight", "quantizer.table"),
    ("generator.logsigma.**", None),  # never used for the picture
)


def _keys(own: VQGANConfig) -> KeyMap:
    e, d = own.encoder, own.decoder
    assert d is not None
    down, up = (e.stem_width, *e.widths), (*d.widths[1:], d.widths[-1])
    rows = [
        *side_rows("encoder", "encoder", encoder_entries(e), idle_shortcuts=_idle(e, down)),
        *side_rows("generator", "decoder", decoder_entries(d), idle_shortcuts=_idle(d, up)),
        *_QUANTIZER,
    ]
    return KeyMap(
        Unwrap("state_dict", "model"),
        Then(_of_the_gan, lambda state: state),
        Fuse(("q", "k", "v"), "qkv"),
        Rename(rows),
        pointwise("quantizer.in_proj.weight", axes=2),
    )


def _of_the_gan(state: State) -> State:
    """The autoencoder's weights out of a checkpoint of the whole GAN, where they are under `ae.`."""
    own = {k.removeprefix("ae."): v for k, v in state.items() if k.startswith("ae.")}
    return own or state


def _idle(c: StackConfig, ins: tuple[int, ...]) -> frozenset[str]:
    """Residual blocks between equal widths: the authors give every block a shortcut, and use it only where widths differ."""
    names = {f"levels.{i}.blocks.{j}" for i in range(len(c.widths)) for j in range(c.blocks_at(i)) if j or ins[i] == c.widths[i]}
    return frozenset(names | {f"middle.{i}" for i in range(len(c.middle))})


LAYOUTS = (
    Layout(
        system="elm-bae",
        upstream="Pepper-lll/LMforImageGeneration bae/binaryae.py BinaryAutoEncoder",
        family="vqgan",
        config=_elm,
        keys=_keys,
    ),
)
