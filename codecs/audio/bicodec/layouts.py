"""BiCodec in its authors' layout: `BiCodec/config.yaml` and `BiCodec/model.safetensors` of Spark-TTS."""

from collections.abc import Mapping
from typing import Any

from ...layouts import dac_keys
from ...layouts.backbone_keys import backbone
from ...layouts.fields import FOLDER_KEYS, Fields
from ...layouts.keymap import KeyMap, Rename, Row, WeightNorm, pointwise, under
from ...layouts.layout import Layout
from .model import BiCodecConfig


def _net(f: Fields, *, condition: int = 0) -> dict[str, Any]:
    """A `FrameNetConfig` and the number of output channels, from the authors' `Encoder` or `Decoder`."""
    out = {
        "width": f.take("vocos_dim"),
        "hidden": f.take("vocos_intermediate_dim"),
        "layers": f.take("vocos_num_layers"),
        "ratios": list(f.take("sample_ratios", [1, 1])),
    }
    f.require("condition_dim", condition or None, None)
    return out


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The parts under `audio_tokenizer`.

    Our keys `volume_normalize` and `ref_segment_duration` are those of the repository's outer config.yaml; `hard_coded_overrides`
    changes numbers that the classes fix: `ecapa_channels`, `ecapa_out_channels`, `se_bottleneck`.
    """
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS, "sample_rate", "latent_hop_length", "highpass_cutoff_freq", "segment_duration", "max_val_duration")
    o = Fields(f.take("hard_coded_overrides", {}), "hard_coded_overrides")
    a = Fields(f.take("audio_tokenizer"), "audio_tokenizer")
    names = ("mel_params", "encoder", "decoder", "quantizer", "speaker_encoder", "prenet", "postnet")
    mel, encoder, decoder, q, voice, prenet, postnet = (Fields(a.take(n), n) for n in names)
    dim, out_dim, width = encoder.take("out_channels"), prenet.take("out_channels"), encoder.take("input_channels")
    size = q.take("codebook_dim")
    q.require("input_dim", dim)
    q.drop("decay", "threshold_ema_dead_code", "momentum", "use_l2_normlize")  # of training, or not read
    if size == dim:
        raise ValueError(f"quantizer.codebook_dim is {size}, that of the latents; only narrower tables, with maps, are supported.")
    rate = mel.take("sample_rate", 16000)
    voice.require("out_dim", out_dim)
    voice.require("fsq_num_quantizers", 1)
    high, bands = mel.take("mel_fmax", None), mel.take("num_mels")
    out = {
        "sample_rate_hz": rate,
        "semantic_model": f.take("speech_config", {}),
        "features": width,
        "level": bool(f.take("volume_normalize", True)),
        "reference_seconds": float(f.take("ref_segment_duration", 6)),
        "mel_fft": mel.take("n_fft"),
        "mel_window": mel.take("win_length"),
        "mel_hop": mel.take("hop_length"),
        "mel_low_hz": float(mel.take("mel_fmin")),
        "mel_high_hz": None if high is None else float(high),
        "encoder": _net(encoder),
        "prenet": _net(prenet, condition=out_dim),
        "postnet": _net(postnet),
        "prenet_tanh": bool(prenet.take("use_tanh_at_final", False)),
        "postnet_tanh": bool(postnet.take("use_tanh_at_final", False)),
        "dim": dim,
        "quantizer": {
            "kind": "vq",
            "codebook_size": q.take("codebook_size"),
            "codebook_dim": size,
            "normalize": True,
            "update": "gradient",
            "kmeans_init": False,
            "replace_below": 0.0,
            "commitment_weight": q.take("commitment"),
            "codebook_weight": q.take("codebook_loss_weight", 1.0),
        },
        "voice": {
            "bands": voice.take("input_dim", 100),
            "channels": o.take("ecapa_channels", 512),
            "out_channels": o.take("ecapa_out_channels", 1536),
            "squeeze": o.take("se_bottleneck", 128),
            "dim": voice.take("latent_dim", 128),
            "count": voice.take("token_num", 32),
        },
        "voice_quantizer": {"kind": "fsq", "levels": list(voice.take("fsq_levels", [4] * 6)), "convention": "fsq"},
        "out_dim": out_dim,
        "strides": list(decoder.take("rates")),
        "kernels": list(decoder.take("kernel_sizes")),
        "decoder_width": decoder.take("channels"),
    }
    if out["voice"]["bands"] != bands:
        raise ValueError(f"mel_params.num_mels is {bands}; speaker_encoder.input_dim is {out['voice']['bands']}.")
    decoder.require("input_channel", out_dim)
    decoder.require("d_out", 1)
    prenet.require("input_channels", dim)
    postnet.require("input_channels", out_dim)
    postnet.require("out_channels", width)
    for part in (mel, encoder, decoder, q, voice, prenet, postnet, a, o, f):
        part.done()
    return out


def _net_rows(theirs: str, ours: str, main: str, *, condition: bool = False) -> list[Row]:
    head, conv = ("project", "conv_downsampler") if main == "encoder" else ("linear", "de_conv_upsampler")
    rows: list[Row] = [
        (f"{theirs}.linear_pre.*", f"{ours}.stem.*"),
        (f"{theirs}.{head}.*", f"{ours}.head.*"),
        (f"{theirs}.downsample.{{}}.0.{conv}.1.*", f"{ours}.stages.{{}}.0.conv.*"),
        *backbone(f"{theirs}.{main}", f"{ours}.main", condition=condition),
    ]
    return rows + backbone(f"{theirs}.downsample.{{}}.1", f"{ours}.stages.{{}}.1")


def _unit_rows(theirs: str, ours: str) -> list[Row]:
    return [(f"{theirs}.conv.*", f"{ours}.conv.*"), (f"{theirs}.bn.*", f"{ours}.norm.*")]


def _voice_rows() -> list[Row]:
    theirs, ours = "speaker_encoder.speaker_encoder", "voice_encoder"
    rows: list[Row] = [*_unit_rows(f"{theirs}.layer1", f"{ours}.stem"), (f"{theirs}.conv.*", f"{ours}.joint.*")]
    for i in range(3):
        block, own = f"{theirs}.layer{i + 2}.se_res2block", f"{ours}.blocks.{i}"
        rows += [*_unit_rows(f"{block}.0", f"{own}.first"), *_unit_rows(f"{block}.2", f"{own}.last")]
        rows += [(f"{block}.1.convs.{{}}.*", f"{own}.res2.convs.{{}}.*"), (f"{block}.1.bns.{{}}.*", f"{own}.res2.norms.{{}}.*")]
        rows += [(f"{block}.3.linear1.*", f"{own}.squeeze.*"), (f"{block}.3.linear2.*", f"{own}.excite.*")]
    layer, own = "speaker_encoder.perceiver_sampler.layers.{}", f"{ours}.layers.{{}}"
    rows += [(f"{layer}.0.to_{{q|kv|out}}.*", f"{own}.{{q|kv|out}}.*")]
    rows += [(f"{layer}.1.0.*", f"{own}.up.*"), (f"{layer}.1.2.*", f"{own}.down.*")]
    return [
        *rows,
        ("speaker_encoder.perceiver_sampler.latents", f"{ours}.queries"),
        ("speaker_encoder.perceiver_sampler.proj_context.*", f"{ours}.context.*"),
        ("speaker_encoder.perceiver_sampler.norm.gamma", f"{ours}.gain"),
        ("speaker_encoder.quantizer.project_in.*", "voice_quantizer.in_proj.*"),
        ("speaker_encoder.quantizer.project_out.*", "voice_quantizer.out_proj.*"),
        ("speaker_encoder.project.*", "voice_proj.*"),
    ]


def _decoder_rows(levels: int) -> list[Row]:
    rows: list[Row] = [("0.*", "stem.*"), (f"{levels + 1}.alpha", "act.alpha"), (f"{levels + 2}.*", "head.*")]
    rows += [row for i in range(levels) for row in dac_keys.up(f"{i + 1}", f"levels.{i}")]
    return under("decoder.model.", "decoder.", rows)


#: The x-vector's branch, which decoding does not read; what torchaudio computes; the table's usage in training.
_DROPPED = (
    "speaker_encoder.speaker_encoder.{bn|linear|bn2}.**", "speaker_encoder.speaker_encoder.pool.**", "mel_transformer.**",
    "quantizer.cluster_size",
)  # fmt: skip


def _keys(own: BiCodecConfig) -> KeyMap:
    rows: list[Row] = [
        *_net_rows("encoder", "encoder", "encoder"),
        *_net_rows("prenet", "prenet", "vocos_backbone", condition=True),
        *_net_rows("postnet", "postnet", "vocos_backbone"),
        ("quantizer.in_project.*", "quantizer.in_proj.*"),
        ("quantizer.out_project.*", "quantizer.out_proj.*"),
        ("quantizer.codebook.weight", "quantizer.codebook.embed"),
        *_voice_rows(),
        *_decoder_rows(len(own.strides)),
    ]
    norm = WeightNorm(on=("quantizer.{in_project|out_project}.weight", "decoder.model.**.weight"))
    return KeyMap(norm, Rename(rows, also_drop=_DROPPED), pointwise("quantizer.{in_proj|out_proj}.weight"))


LAYOUTS = (
    Layout(
        system="bicodec",
        upstream="SparkAudio/Spark-TTS sparktts/models/bicodec.py BiCodec",
        family="bicodec",
        config=_config,
        keys=_keys,
    ),
)
