"""DualCodec: DAC's numbered layers under `dac.`, ConvNeXt blocks around a one-level residual quantizer."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .base import Converter, fold_weight_norm, rename
from .old_dac import dac_table, factorised_rvq, one_width, pointwise_to_linear
from .fields import FOLDER_KEYS, Fields


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of the authors' `DualCodec`."""
    f = Fields(config, "config")
    # `distill_*`: for a head that this class never builds
    f.drop(*FOLDER_KEYS, "distill_projection_out_dim", "_target_")
    # numbers that stand in the class itself
    literals = Fields(f.take("hard_coded_overrides", {}), "hard_coded_overrides")
    features, hidden = f.take("ssl_dim", None) or literals.take("W1024", 1024), literals.take("W2048", 2048)
    literals.drop("W1024")
    literals.done()
    width, strides = f.take("encoder_dim", 64), f.take("encoder_rates", [2, 4, 8, 8])
    semantic = factorised_rvq(
        kind="vq",
        codebook_size=f.take("semantic_codebook_size", 16384),
        codebook_dim=one_width("semantic_codebook_dim", f.take("semantic_codebook_dim", 8)),
    )
    out = {
        "sample_rate_hz": f.take("sample_rate", 44100),
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
        "semantic_quantizer": semantic,
        "quantizer": factorised_rvq(
            num_codebooks=f.take("n_codebooks", 9),
            codebook_size=f.take("codebook_size", 1024),
            codebook_dim=one_width("codebook_dim", f.take("codebook_dim", 8)),
            dropout=float(f.take("quantizer_dropout", 0.0)),
        ),
    }
    f.done()
    return out


def _block(theirs: str, ours: str) -> list[tuple[str, str]]:
    names = {"dwconv": "depthwise", "norm": "norm", "pwconv1": "up", "pwconv2": "down"}
    return [(rf"{theirs}\.{a}\.(weight|bias)", rf"{ours}.{b}.\1") for a, b in names.items()]


def _table(blocks: int, downs: int, ups: int) -> list[tuple[str, str]]:
    quantizer = r"semantic_vq\.quantizers\.0"
    return [
        (r"convnext_encoder\.0\.(weight|bias)", r"semantic.down.\1"),
        *(pair for i in range(blocks) for pair in _block(rf"convnext_encoder\.{i + 1}", f"semantic.encoder.{i}")),
        *(pair for i in range(blocks) for pair in _block(rf"convnext_decoder\.{i}", f"semantic.decoder.{i}")),
        (rf"convnext_decoder\.{blocks}\.(weight|bias)", r"semantic.up.\1"),
        (rf"{quantizer}\.(in_proj|out_proj)\.(weight|bias)", r"quantizer.first.\1.\2"),
        (rf"{quantizer}\.codebook\.weight", r"quantizer.first.codebook.embed"),
        *((rf"dac\.{a}", b.replace("quantizer.", "quantizer.second.", 1)) for a, b in dac_table(downs, ups)),
        # the file of the features' statistics, beside the weights
        (r"(?:stats\.)?mean", r"feature_mean"),
        (r"(?:stats\.)?var", r"feature_deviation"),
    ]


def _weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    own = _config(config)
    table = _table(own["semantic_blocks"], len(own["strides"]), len(own["decoder_strides"]))
    out = pointwise_to_linear(rename(fold_weight_norm(state), table))
    if "feature_mean" in out:
        out["feature_mean"], out["feature_deviation"] = (
            out["feature_mean"].flatten().float(),
            out["feature_deviation"].flatten().float().sqrt(),
        )
    else:  # features come normalised
        width = own["semantic_in"]
        some = next(iter(out.values()))
        out |= {"feature_mean": some.new_zeros(width), "feature_deviation": some.new_ones(width)}
    return out


CONVERTERS = (
    Converter(
        system="dualcodec",
        upstream="jiaqili3/DualCodec dualcodec.model_codec.DualCodec",
        family="dualcodec",
        config=_config,
        weights=_weights,
    ),
)
