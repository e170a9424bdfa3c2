"""FlexTok's weights. The config names each step of its dictionaries freely, so steps are recognised by their weights' names."""

from collections.abc import Mapping
from typing import Any

from ...layouts.keymap import Each, Fuse, KeyMap, Rename, Row, State, Then, under
from .model import FlexTokConfig

#: First part of a step's weights -> the name that the step gets here. Two of these names are fixed by the authors' code.
_STEPS = {
    "encoder": {
        "patch_proj": "enc_patch_emb",
        "posembs": "enc_posemb",
        "registers": "enc_register_module",
        "blocks": "enc_transformer",
        "proj": "enc_to_latents",
    },
    "decoder": {
        "patch_proj": "dec_patch_emb",
        "posembs": "dec_posemb",
        "dropout_mask_token": "dec_nested_dropout",
        "nullcond": "dec_latent_dropout",
        "mlp": "dec_time_embedder",
        "blocks": "dec_transformer",
        "adaLN_modulation": "dec_to_patches",
        "proj": "dec_from_latents",
    },
}


def _named(state: State) -> State:
    """Rename every step to the name of its kind; a step that is not recognised keeps its name and is refused by the table."""
    steps: dict[tuple[str, str], dict[str, Any]] = {}
    for key, value in state.items():
        side, _, rest = key.partition(".module_dict.")
        if side in _STEPS and "." in rest:
            step, inner = rest.split(".", 1)
            steps.setdefault((side, step), {})[inner] = value
    out = {k: v for k, v in state.items() if k.partition(".module_dict.")[0] not in _STEPS}
    for (side, step), inside in steps.items():
        name = _name(side, inside) or step
        for inner, value in inside.items():
            key = f"{side}.module_dict.{name}.{inner}"
            # a second step of one kind keeps its name, which no row of the table matches
            out[f"{side}.module_dict.{step}.{inner}" if key in out else key] = value
    return out


def _name(side: str, inside: Mapping[str, Any]) -> str:
    firsts = {inner.split(".")[0] for inner in inside}
    if "posembs" in firsts and side == "decoder" and tuple(inside["posembs"].shape[:2]) == (1, 1):  # of a sequence: the tokens
        return "dec_registers_posemb"
    return next((name for first, name in _STEPS[side].items() if first in firsts), "")


def _side(short: str, side: str, gated: bool) -> list[Row]:
    block: list[Row] = [
        ("attn.qkv.*", "qkv.*"),
        ("attn.proj.*", "out.*"),
        ("mlp.fc1.*", "gate.*" if gated else "up.*"),
        *([("mlp.fc3.*", "up.*")] if gated else []),
        ("mlp.fc2.*", "down.*"),
        ("adaLN_modulation.1.*", "modulation.proj.*"),
    ]
    rows: list[Row] = [
        ("patch_emb.patch_proj.*", "patch_embed.*"),
        ("posemb.posembs", "positions.table"),
        *under("transformer.blocks.{}.", "blocks.{}.", block),
    ]
    return under(f"{side}.module_dict.{short}_", f"{side}.", rows)


_ROWS: tuple[Row, ...] = (
    ("vae.logvar", None),  # a weight of the VAE's own training loss
    ("vae.vae.**", "vae.**"),
    ("encoder.module_dict.enc_register_module.registers", "encoder.registers"),
    ("encoder.module_dict.enc_to_latents.proj.*", "encoder.head.proj.*"),
    ("decoder.module_dict.dec_from_latents.proj.*", "decoder.condition.proj.*"),
    ("decoder.module_dict.dec_registers_posemb.posembs", "decoder.condition.positions.table"),
    ("decoder.module_dict.dec_nested_dropout.dropout_mask_token", "decoder.condition.mask_token"),
    ("decoder.module_dict.dec_latent_dropout.nullcond", "decoder.condition.null_token"),
    ("decoder.module_dict.dec_time_embedder.mlp.{0|2}.*", "decoder.time.mlp.{0|2}.*"),
    ("decoder.module_dict.dec_to_patches.proj.*", "decoder.head.proj.*"),
    ("decoder.module_dict.dec_to_patches.adaLN_modulation.1.*", "decoder.head.modulation.proj.*"),
)


def flextok_keys(own: FlexTokConfig) -> KeyMap:
    """The key map of one model."""
    p = own.patch_size
    sides = [*_side("enc", "encoder", own.encoder.gated), *_side("dec", "decoder", own.decoder.gated)]
    return KeyMap(
        Then(_named, lambda state: state),
        Fuse(("wq", "wk", "wv"), "qkv"),
        Rename([*_ROWS, *sides]),
        Each(  # a linear map of (row, column, channel)
            ("{encoder|decoder}.patch_embed.weight",),
            lambda v: v.unflatten(1, (p, p, -1)).permute(0, 3, 1, 2).contiguous(),
            lambda v: v.permute(0, 2, 3, 1).flatten(1),
        ),
    )
