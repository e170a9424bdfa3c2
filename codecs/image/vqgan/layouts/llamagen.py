"""LlamaGen's VQ-8 and VQ-16 (FoundationVision/LlamaGen @ ce98ec4180); a file's EMA weights are preferred to its raw ones."""

from collections.abc import Mapping
from typing import Any

from ....layouts.configs import check_round_trip, one_number, the_quantizer
from ....layouts.keymap import KeyMap
from ....layouts.layout import Layout
from ....layouts.llamagen_keys import llamagen_map
from ....quantizers.vq import VQConfig
from ..model import VQGANConfig
from .llamagen_config import llamagen_config


def _llamagen(config: Mapping[str, Any]) -> dict[str, Any]:
    return llamagen_config(config, "llamagen")


def _llamagen_back(own: VQGANConfig) -> dict[str, Any]:
    """The fields of `ModelArgs`, and our two keys where a side differs from the class's defaults."""
    e, d = own.encoder, own.decoder
    if d is None:
        raise ValueError("LlamaGen's layout has a decoder, which this tokenizer lacks.")
    q = the_quantizer(own.quantizer, VQConfig)
    width = e.stem_width
    out: dict[str, Any] = {
        "codebook_size": q.codebook_size,
        "codebook_embed_dim": own.embed_dim,
        "codebook_l2_norm": q.normalize,
        "codebook_show_usage": True,
        "commit_loss_beta": q.commitment_weight,
        "entropy_loss_ratio": 0.0,
        "encoder_ch_mult": [w // width for w in e.widths],
        "decoder_ch_mult": [w // width for w in d.widths],
        "z_channels": own.z_channels,
        "dropout_p": e.dropout,
    }
    count = one_number("decoder.blocks", d.blocks) - 1
    sides = {
        "encoder": {"ch": width, "num_res_blocks": e.blocks, "resamp_with_conv": e.resample == "conv"},
        "decoder": {"ch": width, "num_res_blocks": count, "resamp_with_conv": d.resample == "nearest_conv"},
    }
    usual = {"ch": 128, "num_res_blocks": 2, "resamp_with_conv": True}
    out |= {k: v for k, v in sides.items() if v != usual}
    return check_round_trip(own, out, _llamagen)


def _keys(own: VQGANConfig) -> KeyMap:
    assert own.decoder is not None
    return llamagen_map(len(own.encoder.widths), len(own.decoder.widths))


LAYOUTS = (
    Layout(
        system="llamagen",
        upstream="FoundationVision/LlamaGen tokenizer/tokenizer_image/vq_model.py VQModel",
        family="vqgan",
        config=_llamagen,
        keys=_keys,
        authors_config=_llamagen_back,
    ),
)
