"""DualCodec: DAC's numbered layers under `dac.`, ConvNeXt blocks around a one-level residual quantizer."""

from collections.abc import Mapping
from typing import Any

from ...layouts import dac_keys
from ...layouts.configs import dac_rvq, factorised_rvq
from ...layouts.fields import FOLDER_KEYS, Fields
from ...layouts.keymap import KeyMap, Rename, Row, WeightNorm, under
from ...layouts.layout import Layout
from ...layouts.speech_keys import STATISTICS, feature_statistics
from .model import DualCodecConfig


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of the authors' `DualCodec`, also inside the YAML of a training run."""
    outer: Mapping[str, Any] = {}
    if isinstance(config.get("model"), Mapping):
        outer, config = config, config["model"]
    f = Fields(config, "config")
    # `distill_*`: settings of a head that the authors' class never builds
    f.drop(*FOLDER_KEYS, "distill_projection_out_dim", "_target_")
    # numbers that are hard-coded in the authors' class
    literals = Fields(f.take("hard_coded_overrides", {}), "hard_coded_overrides")
    features, hidden = literals.take("W1024", 1024), literals.take("W2048", 2048)
    literals.done()
    rate = f.take("sample_rate", 44100)
    width, strides = f.take("encoder_dim", 64), f.take("encoder_rates", [2, 4, 8, 8])
    semantic_dim = f.take("semantic_codebook_dim", 8)
    out = {
        "sample_rate_hz": outer.get("SAMPLE_RATE", rate) if rate == "${..SAMPLE_RATE}" else rate,
        "strides": strides,
        "decoder_strides": f.take("decoder_rates", [8, 8, 4, 2]),
        "encoder_width": width,
        "decoder_width": f.take("decoder_dim", 1536),
        "latent_dim": f.take("latent_dim", None) or width * 2 ** len(strides),
        "semantic_in": features,
        "semantic_width": f.take("convnext_dim", 768),
        "semantic_hidden": hidden,
        "semantic_blocks": f.take("convnext_layers", 4),
        "semantic_causal": bool(f.take("is_causal", False)),
        "semantic_pool": f.take("semantic_downsample_factor", 2),
        "subtract_decoded": bool(f.take("decode_semantic_for_codec", True)),
        "semantic_quantizer": factorised_rvq(
            kind="vq",
            codebook_size=f.take("semantic_codebook_size", 16384),
            codebook_dim=semantic_dim if isinstance(semantic_dim, int) else semantic_dim[0],
        ),
        "quantizer": dac_rvq(f),
    }
    f.done()
    return out


_BLOCK: list[Row] = [("dwconv.*", "depthwise.*"), ("norm.*", "norm.*"), ("pwconv1.*", "up.*"), ("pwconv2.*", "down.*")]


def _rows(own: DualCodecConfig) -> list[Row]:
    blocks, rows = own.semantic_blocks, list[Row]()
    for i in range(blocks):
        rows += under(f"convnext_encoder.{i + 1}.", f"semantic_path.encoder.{i}.", _BLOCK)
        rows += under(f"convnext_decoder.{i}.", f"semantic_path.decoder.{i}.", _BLOCK)
    dac = [*dac_keys.encoder(len(own.strides)), *dac_keys.decoder(len(own.ups))]
    return [
        ("convnext_encoder.0.*", "semantic_path.down.*"),
        *rows,
        (f"convnext_decoder.{blocks}.*", "semantic_path.up.*"),
        ("semantic_vq.quantizers.0.{in_proj|out_proj}.*", "quantizer.first.{in_proj|out_proj}.*"),
        ("semantic_vq.quantizers.0.codebook.weight", "quantizer.first.codebook.embed"),
        *under("dac.", "", dac),
        *((f"dac.{a}", b and b.replace("quantizer.", "quantizer.second.", 1)) for a, b in dac_keys.QUANTIZER),
        *STATISTICS,
    ]


def _keys(own: DualCodecConfig) -> KeyMap:
    projections = "{in_proj|out_proj}.weight"
    return KeyMap(
        WeightNorm(but=("{convnext_encoder|convnext_decoder}.{}.dwconv.weight",)),
        Rename(_rows(own)),
        feature_statistics(own.semantic_in),
        dac_keys.linear_projections(f"quantizer.first.{projections}", f"quantizer.second.levels.{{}}.{projections}"),
    )


LAYOUTS = (
    Layout(
        system="dualcodec",
        upstream="jiaqili3/DualCodec dualcodec.model_codec.DualCodec",
        family="dualcodec",
        config=_config,
        keys=_keys,
    ),
)
