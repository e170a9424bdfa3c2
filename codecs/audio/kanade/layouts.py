"""Kanade and MioCodec in their authors' layout: YAML of jsonargparse, and parameters alone, without the speech model."""

from collections.abc import Mapping
from typing import Any

from ...layouts.fields import FOLDER_KEYS, Fields
from ...layouts.keymap import Fuse, KeyMap, Rename, Row, WeightNorm, under
from ...layouts.layout import Layout
from ...layouts.transformer_keys import rotary_halves
from .model import KanadeConfig

#: Names of torchaudio's speech models -> the same weights on the hub.
_SPEECH = {
    "wavlm_base_plus": "microsoft/wavlm-base-plus",
    "wavlm_base": "microsoft/wavlm-base",
    "hubert_base": "facebook/hubert-base-ls960",
    "wav2vec2_base": "facebook/wav2vec2-base",
}


def _part(f: Fields, name: str, default: Any = None) -> Fields | None:
    """The arguments of one part, also inside `class_path` and `init_args`; None where it is null."""
    value = f.take(name, default)
    if value is None:
        return None
    if isinstance(value, Mapping) and "init_args" in value:
        value = value["init_args"]
    return Fields(value, name)


def _transformer(f: Fields) -> dict[str, Any]:
    """A `WindowedConfig` from the arguments of the authors' `Transformer`."""
    width, step, factor = f.take("dim", 4096), f.take("multiple_of", 256), f.take("ffn_dim_multiplier", None)
    hidden = int(2 * 4 * width / 3)
    hidden = hidden if factor is None else int(factor * hidden)
    f.drop("use_flash_attention", "max_seq_len", "use_xavier_init")
    f.require("causal", False)
    period = f.take("rope_theta", 500000.0)
    return {
        "width": width,
        "layers": f.take("n_layers", 32),
        "heads": f.take("n_heads", 32),
        "feed_forward": step * -(-hidden // step),
        "window": f.take("window_size", None),
        "rope_period": float(period) if f.take("use_rope", True) else None,
        "qkv_bias": bool(f.take("qkv_bias", False)),
        "out_bias": bool(f.take("proj_bias", False)),
        "norm_eps": f.take("norm_eps", 1e-5),
        "dropout": f.take("dropout", 0.1),
    }


def _prenet(f: Fields, c: Fields, kind: str) -> dict[str, Any]:
    """The fields of `SynthesisConfig` but for the decoder's, for "mel" or "wave"."""
    out = {
        "prenet_out": f.take("output_dim", None) or 0,
        "up": c.take(f"{kind}_upsample_factor", 4),
        "interpolation": c.take(f"{kind}_interpolation_mode", "linear"),
        "hop_samples": c.take("hop_length", 256),
        "prenet": _transformer(f),
    }
    f.done()
    return out


def _conditioned(f: Fields, voice: int) -> dict[str, Any]:
    f.require("use_adaln_zero", True, False)
    f.require("adanorm_condition_dim", voice)
    return _transformer(f)


def _mel(f: Fields, c: Fields, voice: int) -> dict[str, Any]:
    prenet, decoder, post = _part(f, "mel_prenet"), _part(f, "mel_decoder"), _part(f, "mel_postnet")
    if prenet is None or decoder is None or post is None:
        raise ValueError("the config lacks mel_prenet, mel_decoder or mel_postnet, and has no wave decoder either.")
    c.drop("n_fft", "mel_fmin", "mel_fmax", "bigvgan_style_mel", "vocoder_name", "mel_backend", "mel_win_length")  # of the vocoder
    out = _prenet(prenet, c, "mel") | {
        "decoder": _conditioned(decoder, voice),
        "bands": decoder.take("output_dim"),
        "centred": c.one_of("padding", {"center": True, "same": False}, "center"),
        "post_width": post.take("channels", 512),
        "post_kernel": post.take("kernel_size", 5),
        "post_layers": post.take("num_layers", 5),
        "post_norm": "layer" if post.take("use_layer_norm", False) else "batch",
        "post_dropout": post.take("dropout", 0.5),
    }
    c.require("n_mels", out["bands"], 100)
    post.require("input_channels", out["bands"], 100)
    decoder.done()
    post.done()
    return out


def _wave(f: Fields, c: Fields, voice: int) -> dict[str, Any]:
    prenet, decoder = _part(f, "wave_prenet"), _part(f, "wave_decoder")
    if prenet is None or decoder is None:
        raise ValueError("use_wave_decoder needs wave_prenet and wave_decoder.")
    c.drop("n_mels", "padding", "mel_backend", "mel_fmin", "mel_fmax", "mel_win_length")
    c.drop("mel_upsample_factor", "mel_interpolation_mode")
    c.require("istft_padding", "same")
    out = _prenet(prenet, c, "wave") | {
        "decoder": _conditioned(decoder, voice),
        "window_samples": c.take("n_fft", 1024),
        "blocks": c.take("wave_resnet_num_blocks", 2),
        "block_kernel": c.take("wave_resnet_kernel_size", 3),
        "block_groups": c.take("wave_resnet_num_groups", 32),
        "block_dropout": c.take("wave_resnet_dropout", 0.1),
        "raises": list(c.take("wave_upsampler_factors", None) or ()),
        "raise_kernels": list(c.take("wave_upsampler_kernel_sizes", None) or ()),
    }
    c.require("wave_decoder_dim", out["decoder"]["width"], 512)
    decoder.require("output_dim", None)
    decoder.done()
    return out


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The authors' YAML, with or without the key `model` and class paths.

    Our key `speech_config` is a speech model's configuration in the terms of transformers, for its sizes; our key
    `with_feature_decoder` says that the file holds the decoder of the features, which published ones leave out.
    """
    if isinstance(config.get("model"), Mapping):
        config = {k: v for k, v in config.items() if k != "model"} | dict(config["model"]["init_args"])
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS)
    c, encoder, levels, voice = (_part(f, n, {}) for n in ("config", "local_encoder", "local_quantizer", "global_encoder"))
    assert c is not None and encoder is not None and levels is not None and voice is not None
    speech, name = _part(f, "ssl_feature_extractor"), _SPEECH["wavlm_base_plus"]
    rate = c.take("sample_rate", 24000)
    if speech is not None:
        speech.drop("output_layer")  # the number of layers that run follows from those that are taken
        speech.require("sample_rate", rate, 16000)
        name = speech.one_of("model_name", _SPEECH, "wavlm_base_plus")
        speech.done()
    inner, own = encoder.take("input_dim", None), _transformer(encoder)
    encoder.require("output_dim", None)
    encoder.done()
    width = inner or own["width"]
    features = f.take("feature_decoder", None)
    f_config = {"feature_decoder": features} if f.take("with_feature_decoder", False) else {}
    back = _part(Fields(f_config, "config"), "feature_decoder")
    out = {
        "sample_rate_hz": rate,
        "semantic_name": name,
        "semantic_model": f.take("speech_config", {}),
        "features": width,
        "content_layers": list(c.take("local_ssl_layers", [6, 9])),
        "voice_layers": list(c.take("global_ssl_layers", [1, 2])),
        "standardize": bool(c.take("normalize_ssl_features", True)),
        "encoder": own,
        "stride": c.take("downsample_factor", 2),
        "down": "conv" if c.take("use_conv_downsample", True) else "mean",
        "quantizer": {"kind": "fsq", "levels": list(levels.take("levels")), "convention": "nemo"},
        "feature_decoder": None if back is None else _transformer(back),
        "voice": _voice(voice, width),
    }
    c.drop("local_interpolation_mode")  # of the features' reconstruction
    levels.drop("input_dim", "output_dim")
    waves, dim = c.take("use_wave_decoder", False), out["voice"]["dim"]
    out |= {"wave": _wave(f, c, dim), "mel": None} if waves else {"wave": None, "mel": _mel(f, c, dim)}
    for key in ("mel_prenet", "mel_decoder", "mel_postnet", "wave_prenet", "wave_decoder"):
        f.require(key, None)
    for part in (c, levels, f):
        part.done()
    return out


def _voice(f: Fields, width: int) -> dict[str, Any]:
    f.require("input_channels", width)
    out = {
        "dim": f.take("output_channels"),
        "width": f.take("dim"),
        "hidden": f.take("intermediate_dim"),
        "layers": f.take("num_layers"),
        "embed": not f.take("skip_embed", False),
        "attention": f.take("attention_channels", 128),
        "pooling": "attentive" if f.take("use_attn_pool", True) else "mean",
    }
    f.done()
    return out


# --- keys -----------------------------------------------------------------------------------------------------------


def _transformer_rows(theirs: str, ours: str) -> list[Row]:
    rows: list[Row] = [("norm.*", "norm.*"), ("norm.condition_proj.1.*", "norm.proj.*")]
    rows += [("input_proj.*", "in_proj.*"), ("output_proj.*", "out_proj.*")]
    for norm, own in (("attention_norm", "norm_attention"), ("ffn_norm", "norm_feed_forward")):
        rows += [(f"layers.{{}}.{norm}.*", f"blocks.{{}}.{own}.*")]
        rows += [(f"layers.{{}}.{norm}.condition_proj.1.*", f"blocks.{{}}.{own}.proj.*")]
    rows += [
        ("layers.{}.attention.qkv.*", "blocks.{}.qkv.*"),
        ("layers.{}.attention.wo.*", "blocks.{}.out.*"),
        ("layers.{}.feed_forward.w13.*", "blocks.{}.up.*"),
        ("layers.{}.feed_forward.w2.*", "blocks.{}.down.*"),
    ]
    return under(f"{theirs}.", f"{ours}.", rows)


def _block_rows(theirs: str, ours: str) -> list[Row]:
    names = {"norm1": "norm_in", "conv1": "conv_in", "norm2": "norm_out", "conv2": "conv_out"}
    return [(f"{theirs}.{a}.*", f"{ours}.{b}.*") for a, b in names.items()]


_VOICE_ROWS: list[Row] = [
    ("global_encoder.backbone.embed.*", "voice_encoder.embed.*"),
    ("global_encoder.backbone.norm.*", "voice_encoder.norm_in.*"),
    ("global_encoder.backbone.convnext.{}.dwconv.*", "voice_encoder.blocks.{}.depthwise.*"),
    ("global_encoder.backbone.convnext.{}.norm.*", "voice_encoder.blocks.{}.norm.*"),
    ("global_encoder.backbone.convnext.{}.pwconv1.*", "voice_encoder.blocks.{}.up.*"),
    ("global_encoder.backbone.convnext.{}.pwconv2.*", "voice_encoder.blocks.{}.down.*"),
    ("global_encoder.backbone.convnext.{}.gamma", "voice_encoder.blocks.{}.scale"),
    ("global_encoder.backbone.final_layer_norm.*", "voice_encoder.norm_out.*"),
    ("global_encoder.pooling.attn.0.*", "voice_encoder.pool.score_in.*"),
    ("global_encoder.pooling.attn.2.*", "voice_encoder.pool.score_out.*"),
    ("global_encoder.pooling.proj.*", "voice_encoder.proj.*"),
    ("global_encoder.pooling.norm.*", "voice_encoder.norm.*"),
]


def _keys(own: KanadeConfig) -> KeyMap:
    kind, batch = "mel" if own.wave is None else "wave", own.mel is not None and own.mel.post_norm == "batch"
    rows: list[Row] = [
        *_transformer_rows("local_encoder", "encoder"),
        *_transformer_rows(f"{kind}_prenet", "synthesis.stretch.prenet"),
        *_transformer_rows(f"{kind}_decoder", "synthesis.decoder"),
        (f"{kind}_conv_upsample.*", "synthesis.stretch.up.*"),
        ("conv_downsample.*", "down.*"),
        ("local_quantizer.proj_in.*", "quantizer.in_proj.*"),
        ("local_quantizer.proj_out.*", "quantizer.out_proj.*"),
        *(_VOICE_ROWS if own.voice.pooling == "attentive" else _mean_rows()),
        ("mel_postnet.convolutions.{}.0.*", "synthesis.post.convs.{}.*"),
        (f"mel_postnet.convolutions.{{}}.1.{'' if batch else 'norm.'}*", "synthesis.post.norms.{}.*"),
        *_block_rows("wave_prior_net.blocks.{}", "synthesis.before.{}"),
        *_block_rows("wave_post_net.blocks.{}", "synthesis.after.{}"),
        ("wave_upsampler.upsample_layers.{}.*", "synthesis.raised.ups.{}.*"),
        ("wave_upsampler.snake_activations.{}.*", "synthesis.raised.acts.{}.*"),
        *_block_rows("wave_upsampler.resnet_blocks.{}", "synthesis.raised.blocks.{}"),
        ("wave_upsampler.out_proj.*", "synthesis.raised.out.*"),
        ("wave_upsampler.out_snake.*", "synthesis.raised.act.*"),
        ("istft_head.out.*", "synthesis.head.out.*"),
        ("semantic_model.**", "semantic_model.**"),  # in no file of theirs
    ]
    if own.feature_decoder is not None:
        rows += [("conv_upsample.*", "feature_up.*"), *_transformer_rows("feature_decoder", "feature_decoder")]
    decoder = own.wave or own.mel
    assert decoder is not None
    turned = {"encoder": own.encoder, "synthesis.stretch.prenet": decoder.prenet, "synthesis.decoder": decoder.decoder}
    if own.feature_decoder is not None:
        turned["feature_decoder"] = own.feature_decoder
    halves = [
        rotary_halves(f"{name}.blocks.{{}}.qkv.{end}", heads=c.heads, kv_heads=c.heads)
        for name, c in turned.items()
        for end in ("weight", "bias")
    ]
    dropped = ("ssl_feature_extractor.**", *(() if own.feature_decoder else ("feature_decoder.**", "conv_upsample.*")))
    return KeyMap(
        WeightNorm("parametrizations", on=("wave_upsampler.upsample_layers.{}.weight",)),
        Fuse(("wq", "wk", "wv"), "qkv", where="**attention."),
        Fuse(("w1", "w3"), "w13", where="**feed_forward."),
        Rename(rows, also_drop=dropped),
        *halves,
    )


def _mean_rows() -> list[Row]:
    ends = {"proj": "2", "norm": "3"}
    rows = [r for r in _VOICE_ROWS if ".pooling." not in r[0]]
    return [*rows, *((f"global_encoder.pooling.{b}.*", f"voice_encoder.{a}.*") for a, b in ends.items())]


LAYOUTS = (
    Layout(
        system="kanade",
        upstream="frothywater/kanade-tokenizer src/kanade_tokenizer/model.py KanadeModel",
        family="kanade",
        config=_config,
        keys=_keys,
    ),
    Layout(
        system="miocodec",
        upstream="Aratako/MioCodec src/miocodec/model.py MioCodecModel",
        family="kanade",
        config=_config,
        keys=_keys,
    ),
)
