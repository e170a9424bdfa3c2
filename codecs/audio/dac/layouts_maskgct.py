"""MaskGCT's acoustic codec (Wang et al. 2024, arXiv 2409.00750): DAC's encoder, its quantizer, and Vocos as decoder."""

from collections.abc import Mapping
from typing import Any

from ...layouts import dac_keys
from ...layouts.backbone_keys import backbone
from ...layouts.configs import factorised_rvq
from ...layouts.fields import FOLDER_KEYS, Fields
from ...layouts.keymap import KeyMap, Rename, Row, WeightNorm, pointwise, under
from ...layouts.layout import Layout
from .model import DACConfig

#: No file states it.
_RATE_HZ = 24000


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON of `CodecEncoder` and `CodecDecoder`, also inside MaskGCT's, under `model.acoustic_codec`.

    Its key `in_channel` is not what the class reads, `in_channels`, whose default then applies.
    """
    if isinstance(config.get("model"), Mapping):
        config = {k: v for k, v in config.items() if k != "model"} | dict(config["model"]["acoustic_codec"])
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS)
    e, d = Fields(f.take("encoder"), "encoder"), Fields(f.take("decoder"), "decoder")
    e.require("use_tanh", False)
    dim = e.take("out_channels")
    d.require("in_channels", dim, 256)
    d.require("quantizer_type", "fvq")
    d.require("use_vocos", True)
    d.require("padding", "same")
    d.require("use_l2_normlize", True)
    d.drop("in_channel", "upsample_initial_channel", "up_ratios")  # of the decoder without Vocos
    d.drop("codebook_type", "kmeans_init", "kmeans_iters", "decay", "eps", "threshold_ema_dead_code", "weight_init")  # of other kinds
    out = {
        "sample_rate_hz": _RATE_HZ,
        "strides": list(e.take("up_ratios")),
        "encoder_width": e.take("d_model"),
        "latent_dim": dim,
        "fill": "none",
        "quantizer": factorised_rvq(
            num_codebooks=d.take("num_quantizers"),
            codebook_size=d.take("codebook_size"),
            codebook_dim=d.take("codebook_dim"),
            dropout=float(d.take("quantizer_dropout", 0.5)),
            commitment_weight=d.take("commitment", 0.25),
            codebook_weight=d.take("codebook_loss_weight", 1.0),
        ),
        "frame_decoder": {
            "width": d.take("vocos_dim"),
            "hidden": d.take("vocos_intermediate_dim"),
            "layers": d.take("vocos_num_layers"),
            "window_samples": d.take("n_fft"),
        },
    }
    hop = 1
    for stride in out["strides"]:
        hop *= stride
    d.require("hop_size", hop)
    for part in (e, d, f):
        part.done()
    return out


def _keys(own: DACConfig) -> KeyMap:
    names = "codec_decoder.quantizer.quantizers.{}", "quantizer.levels.{}"
    rows: list[Row] = [
        *under("codec_", "", dac_keys.encoder(len(own.strides))),
        (f"{names[0]}.in_project.*", f"{names[1]}.in_proj.*"),
        (f"{names[0]}.out_project.*", f"{names[1]}.out_proj.*"),
        (f"{names[0]}.codebook.weight", f"{names[1]}.codebook.embed"),
        *backbone("codec_decoder.model.backbone", "decoder.backbone"),
        ("codec_decoder.model.head.out.*", "decoder.head.out.*"),
        ("codec_decoder.model.head.istft.window", None),
    ]
    norm = WeightNorm(on=("codec_encoder.**.weight", "codec_decoder.quantizer.**.{in_project|out_project}.weight"))
    return KeyMap(norm, Rename(rows), pointwise("quantizer.levels.{}.{in_proj|out_proj}.weight"))


LAYOUTS = (
    Layout(
        system="maskgct-acoustic",
        upstream="open-mmlab/Amphion models/codec/amphion_codec/codec.py CodecEncoder CodecDecoder",
        family="dac",
        config=_config,
        keys=_keys,
    ),
)
