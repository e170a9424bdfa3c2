"""COMiT (Araachie/comit): config of hydra dictionaries for `COMiT.from_pretrained`, and the key names of its state dict."""

from collections.abc import Mapping
from typing import Any

from ...layouts.configs import open_config, part, training_only
from ...layouts.fields import Fields
from ...layouts.keymap import Each, KeyMap, Rename, Row, under
from ...layouts.layout import Layout
from .model import SD_VAE, COMiTConfig

#: Keys that hydra reads of any dictionary that makes an object.
_HYDRA = ("_target_", "_partial_", "_recursive_", "_convert_")
#: The factor and the stride of the VAE that their wrapper names.
_VAE_SCALE, _VAE_STRIDE = 0.18215, 8


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of `COMiT`, as `from_pretrained` reads them; with or without a key `config` around them."""
    c = open_config(config.get("config", config), "comit")
    c.drop(*_HYDRA)
    network = part(c, "predictor")
    fsq = part(c, "quantizer")
    vae = part(c, "vae")
    vae_config = c.take("vae_config", SD_VAE)  # not theirs: their class fetches the VAE's config by name
    c.done()
    for fields in (network, fsq, vae):
        fields.drop(*_HYDRA)
    vae.one_of("model_type", {"ema": "ema", "mse": "mse"})  # the weights are in the state dict
    vae.done()
    fsq.drop("dtype", "min_corrupt_tokens_p", "apply_corrupt_tokens_p")
    for key in ("drop_quant_p", "corrupt_tokens_p"):
        training_only(fsq, key, 0.0)
    levels = list(fsq.take("levels"))
    fsq.done()
    return _network(network, len(levels), dict(vae_config)) | {"quantizer": {"kind": "fsq", "levels": levels}}


def _network(c: Fields, latent_dim: int, vae: dict[str, Any]) -> dict[str, Any]:
    """The arguments of their class `RuledDiT`, with its defaults."""
    side, channels = c.take("max_input_size", 32) * _VAE_STRIDE, c.take("in_channels", 4)
    c.require("out_channels", channels, 4)
    c.require("msg_tokens_dim", latent_dim, 64)
    if vae.get("latent_channels", channels) != channels:
        raise ValueError(f"{c.name}.in_channels is {channels}; the VAE has {vae['latent_channels']} channels.")
    feature_layer, depth = c.take("representation_layer", 8), c.take("depth", 28)
    out = {
        "image_size": [side, side],
        "vae": vae,
        "vae_scale": _VAE_SCALE,
        "network": {
            "width": c.take("hidden_size", 1152),
            "layers": depth,
            "heads": c.take("num_heads", 16),
            "mlp_ratio": c.take("mlp_ratio", 4.0),
            "patch_size": c.take("patch_size", 2),
            "query_mask": "bias",
        },
        "num_tokens": c.take("num_msg_tokens", 16),
        "latent_dim": latent_dim,
        "places": "relative",
        "feature_layer": feature_layer if feature_layer < depth else None,
    }
    c.done()
    return out


_BLOCK: list[Row] = [
    ("attn.qkv.*", "qkv.*"),
    ("attn.proj.*", "out.*"),
    ("mlp.fc1.*", "mlp.0.*"),
    ("mlp.fc2.*", "mlp.2.*"),
    ("x_adaLN_modulation.1.*", "patch_modulation.proj.*"),
    ("r_adaLN_modulation.1.*", "message_modulation.proj.*"),
]
_ROWS: list[Row] = [
    ("vae.vae.**", "vae.**"),
    ("predictor.pos_embed", "network.positions"),
    ("predictor.y_pos_offset", None),  # of a second picture as a condition, which their class never passes
    ("predictor.c_final_layer.**", None),  # predicts a place that nothing reads
    ("predictor.r_pos_embed", "network.message_positions"),
    ("predictor.c_pos_embed", "network.place_position"),
    ("predictor.r_to_token", "network.query"),
    ("predictor.r_to_pos_embed", "network.query_positions"),
    ("predictor.x_embedder.proj.*", "network.patch_embed.*"),
    ("predictor.r_embedder.{}.*", "network.message_embed.{}.*"),
    ("predictor.c_embedder.{}.*", "network.place_embed.{}.*"),
    ("predictor.t_embedder.mlp.{}.*", "network.time.mlp.{}.*"),
    ("predictor.final_layer.linear.*", "network.velocity_head.*"),
    ("predictor.final_layer.adaLN_modulation.1.*", "network.velocity_modulation.proj.*"),
    ("predictor.r_final_layer.linear.*", "network.message_head.*"),
    *under("predictor.blocks.{}.", "network.blocks.{}.", _BLOCK),
]


def comit_keys(own: COMiTConfig) -> KeyMap:
    """The key map of one model."""
    rows, columns = own.grid
    return KeyMap(
        Rename(_ROWS),
        Each(("network.{place_position|query}",), lambda v: v.flatten(), lambda v: v[None, None]),
        Each(("network.{message_positions|query_positions}",), lambda v: v[0], lambda v: v[None]),
        Each(
            ("network.positions",),
            lambda v: v.transpose(1, 2).unflatten(2, (rows, columns)).contiguous(),
            lambda v: v.flatten(2).transpose(1, 2).contiguous(),
        ),
    )


LAYOUTS = (
    Layout(
        system="comit",
        upstream="Araachie/comit comit/comit.py COMiT",
        family="comit",
        config=_config,
        keys=comit_keys,
    ),
)
