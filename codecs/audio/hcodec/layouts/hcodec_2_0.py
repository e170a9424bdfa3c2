"""H-Codec 2.0: spectra in, and a decoder that repeats each latent; `conf/large_12.5hz_config.yaml` has the published sizes."""

from collections.abc import Mapping
from typing import Any

from ....layouts.fields import FOLDER_KEYS, Fields
from ....layouts.keymap import KeyMap, Row
from ....layouts.layout import Layout
from ..model import HCodecConfig
from .parts import CONV_DEFAULTS, VQ_DEFAULTS, convnext_rows, decoder_config, key_map, streams, transformer_rows

#: Frames a second of both transformers, as the authors' code counts them, whatever rate and hop are.
_FRAMES = 50

#: The published sizes; they stand in the authors' repository, not beside the weights.
_PUBLISHED: dict[str, dict[str, Any]] = {
    "encoder_config": {
        "dim": 1536, "intermediate_dim": 4608, "dimension": 512, "convnext_layers": 24, "target_frame_rate": 12.5,
    },
    "decoder_config": {
        "input_channels": 1024, "dim": 1536, "intermediate_dim": 4608, "convnext_layers": 32, "target_frame_rate": 12.5,
    },
    "quantizer_config": {
        "dim": 512, "codebook_size": 1024, "num_quantizers": 16, "decay": 0.99, "kmeans_init": True, "kmeans_iters": 50,
    },
    "semantic_encoder_config": {
        "input_channels": 768, "encode_channels": 1536, "out_channels": 512, "channel_ratios": [1, 1, 1], "strides": [2, 1, 2],
    },
    "semantic_decoder_config": {
        "code_dim": 512, "output_channels": 768, "decode_channels": 1536, "channel_ratios": [1, 1, 1], "strides": [2, 1, 2],
    },
}  # fmt: skip


def _stride(f: Fields) -> int:
    rate = f.take("target_frame_rate", 6.25)
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate <= _FRAMES / 2:
        raise ValueError(f"{f.name}.target_frame_rate is {rate!r}; it must be a number above 0, at most {_FRAMES / 2:g}.")
    return int(_FRAMES / rate)


def _transformer(f: Fields, width: int) -> dict[str, int]:
    """Sizes of the transformer of encoder or decoder."""
    if width % 64:
        raise ValueError(f"{f.name}.dim is {width}; its transformer has a head for every 64 channels.")
    return {"heads": width // 64, "layers": f.take("transformer_layers", 2)}


def _spectra(e: Fields) -> dict[str, Any]:
    """A `SpectraConfig` mapping from the arguments of `CodecEncoder`."""
    width = e.take("dim")
    out = _transformer(e, width) | {
        "width": width,
        "hidden": e.take("intermediate_dim"),
        "blocks": e.take("convnext_layers", 12),
        "feed_forward": min(4 * width, 4096),
        "latent_dim": e.take("dimension"),
        "window_samples": e.take("n_fft", 1920),
        "hop_samples": e.take("hop_length", 960),
        "stride": _stride(e),
    }
    e.require("causal", False)
    e.done()
    return out


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS)
    given = {name: dict(f.take(name, default)) for name, default in _PUBLISHED.items()}
    rate = f.take("sampling_rate", 48000)
    f.done()
    spectra = _spectra(Fields(given["encoder_config"], "encoder_config"))
    d = Fields(given["decoder_config"], "decoder_config")
    if (stride := _stride(d)) != spectra["stride"]:
        raise ValueError(f"target_frame_rate of encoder and decoder differ: {spectra['stride']} and {stride} frames a position.")
    if stride % 2:  # its first convolution has a kernel of stride + 1
        raise ValueError(f"target_frame_rate gives {stride} frames a position; the authors' decoder takes even numbers.")
    width = given["decoder_config"].get("dim", 0)
    out = _transformer(d, width) | decoder_config(
        d, inputs=2 * spectra["latent_dim"], window=1920, hop=960, encoder_hop=spectra["hop_samples"]
    )
    vq = VQ_DEFAULTS | given["quantizer_config"]
    e, s = (Fields(CONV_DEFAULTS | given[n], n) for n in ("semantic_encoder_config", "semantic_decoder_config"))
    out |= streams(Fields(vq, "quantizer_config"), Fields(vq, "quantizer_config"), e, s, spectra["latent_dim"])
    return out | {
        "sample_rate_hz": rate, "spectra": spectra, "decoder_feed_forward": min(4 * width, 4096), "upsampling": "repeat",
        "decoder_stride": stride,
    }  # fmt: skip


def _keys(own: HCodecConfig) -> KeyMap:
    rows: list[Row] = [
        ("encoder.stft.window", None),  # a Hann window
        ("encoder.embed.conv.*", "encoder.embed.*"),
        ("encoder.out.conv.*", "encoder.head.*"),
        ("encoder.norm.*", "encoder.norm_in.*"),
        ("encoder.final_layer_norm.*", "encoder.norm_out.*"),
        *convnext_rows("encoder.prior_net.{}", "encoder.blocks.{}"),
        *transformer_rows("encoder.post_net.1", "encoder.transformer"),
    ]
    return key_map(own, rows, [("decoder.embed.conv.*", "decoder.up.*")])


LAYOUTS = (
    Layout(
        system="h-codec-2.0",
        upstream="alibaba/unified-audio QuarkAudio-HCodec/HCodec-2.0 Codec",
        family="hcodec",
        config=_config,
        keys=_keys,
    ),
)
