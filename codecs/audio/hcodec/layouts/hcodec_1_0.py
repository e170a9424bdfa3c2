"""H-Codec 1.0: its constructor fixes all sizes and ignores the config."""

from collections.abc import Mapping
from typing import Any

from ....layouts.fields import FOLDER_KEYS, Fields
from ....layouts.keymap import KeyMap
from ....layouts.layout import Layout
from ..model import HCodecConfig
from .parts import LEARNED_UP, key_map, part, seanet_encoder_rows, seanet_parts, streams


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Our config fields: the sizes that the authors' constructor fixes, changed by our key `hard_coded_overrides` (by part)."""
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS, "encoder_kwargs", "decoder_kwargs", "quantizer_kwargs")  # the constructor does not read them
    parts = part(f, "hard_coded_overrides")
    rate = f.take("sample_rate", 16000)
    f.done()
    out = seanet_parts(Fields({"dimension": 512} | dict(parts.take("encoder", {})), "encoder"), part(parts, "decoder"))
    quantizer = parts.take("quantizer", {})
    out |= streams(
        Fields(quantizer, "quantizer"),
        Fields(parts.take("semantic_quantizer", quantizer), "semantic_quantizer"),
        part(parts, "semantic_encoder"),
        part(parts, "semantic_decoder"),
        out["seanet"]["latent_dim"],
    )
    parts.done()
    return out | {"sample_rate_hz": rate}


def _keys(own: HCodecConfig) -> KeyMap:
    return key_map(own, seanet_encoder_rows(own.seanet), LEARNED_UP)


LAYOUTS = (
    Layout(
        system="h-codec-1.0",
        upstream="alibaba/unified-audio QuarkAudio-HCodec/HCodec-1.0 Codec",
        family="hcodec",
        config=_config,
        keys=_keys,
    ),
)
