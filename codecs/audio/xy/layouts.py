"""XY-Tokenizer as its authors publish it: `xy_tokenizer.ckpt`, plain or under the key generator; and in a folder of transformers.

The YAML of constructor arguments stands in their repositories: with one rate (gyt1145028706/XY-Tokenizer), or with two, and Vocos under
another name, in OpenMOSS/MOSS-TTSD (24 and 32 kHz out). The folders of transformers (OpenMOSS-Team/XY_Tokenizer_TTSD_V0_hf and
MOSS_TTSD_tokenizer_hf, with code of their own) have the same arguments under `params` of `config.json`, and another spelling of the
feed-forward layers: read in others' converters of these files.
"""

from collections.abc import Mapping
from typing import Any

from ...layouts.fields import FOLDER_KEYS, TRANSFORMERS_KEYS, Fields
from ...layouts.keymap import KeyMap, Rename, Row, Unwrap, WeightNorm, pointwise
from ...layouts.layout import Layout
from ...layouts.seanet_keys import running_codebooks
from ...layouts.whisper_keys import hf_blocks, stem_rows
from .model import XYConfig

#: Samples of one id that the authors' class takes for granted, and what it keeps of each window by default, in seconds.
_HOP, _KEPT_SECONDS = 1280, 20

_STACK = {"d_model": 768, "encoder_attention_heads": 12, "encoder_ffn_dim": 3072}
_MEL_SIDE = {"num_mel_bins": 80, "scale_embedding": False}
_ENCODER = _STACK | _MEL_SIDE | {"encoder_layers": 12}
_ADAPTER = _STACK | {"encoder_layers": 4}
#: The published sizes (`config/xy_tokenizer_config.yaml`), for files without a config beside them.
_PUBLISHED: dict[str, dict[str, Any]] = {
    "feature_extractor_kwargs": {},
    "semantic_encoder_kwargs": _ENCODER,
    "semantic_encoder_adapter_kwargs": _ADAPTER | {"input_dim": 768, "output_dim": 768},
    "acoustic_encoder_kwargs": _ENCODER,
    "pre_rvq_adapter_kwargs": _ADAPTER | {"input_dim": 1536, "output_dim": 768},
    "downsample_kwargs": {"d_model": 768, "avg_pooler": 4},
    "quantizer_kwargs": {
        "input_dim": 3072, "rvq_dim": 512, "output_dim": 3072, "num_quantizers": 8, "codebook_size": 1024, "codebook_dim": 512,
        "quantizer_dropout": 0.0,
    },
    "post_rvq_adapter_kwargs": _ADAPTER | {"input_dim": 3072, "output_dim": 3072, "max_source_positions": 375},
    "upsample_kwargs": {"d_model": 768, "stride": 4},
    "acoustic_decoder_kwargs": _MEL_SIDE
    | {"d_model": 768, "decoder_layers": 12, "decoder_attention_heads": 12, "decoder_ffn_dim": 3072},
    "vocos_kwargs": {"input_channels": 80},
}  # fmt: skip


def _part(f: Fields, name: str) -> Fields:
    return Fields(f.take(name, _PUBLISHED[name]), name)


def _stack(f: Fields, table: int, *, layers: str = "encoder", width: int = 1280) -> dict[str, int]:
    """A `StackConfig` mapping; only the exact GELU and the masked attention without a kernel of its own exist in the files."""
    f.require("activation_function", "gelu")
    f.require("attn_type", "varlen")
    return {
        "width": width,
        "heads": f.take(f"{layers}_attention_heads", 20),
        "hidden": f.take(f"{layers}_ffn_dim", 5120),
        "layers": f.take(f"{layers}_layers", 32),
        "table": table,
    }


def _mel_side(f: Fields, rate: int, hop: int, layers: str) -> tuple[dict[str, int], int, int]:
    """(stack, bands, stride) of an encoder over mel frames, or of the decoder."""
    f.drop("scale_embedding")  # read by no line
    f.require("kernel_size", 3)
    f.require("sampling_rate", rate, 16000)
    f.require("hop_length", hop, 160)
    stride, seconds, width = f.take("stride_size", 2), f.take("max_audio_seconds", 30), f.take("d_model", 1280)
    out = _stack(f, seconds * rate // hop // max(1, stride), layers=layers, width=width), f.take("num_mel_bins", 128), stride
    f.done()
    return out


def _adapter(f: Fields) -> tuple[dict[str, int], int, int]:
    """(stack, channels in, channels out)."""
    inputs, outputs, width = f.take("input_dim", 1280), f.take("output_dim", 1280), f.take("d_model", 1280)
    out = _stack(f, f.take("max_source_positions", 1500), width=width), inputs, outputs
    f.done()
    return out


def _agree(name: str, got: int, want: int) -> None:
    if got != want:
        raise ValueError(f"{name} is {got}; the parts beside it give or take {want}.")


def _quantizer(f: Fields, dim: int) -> dict[str, Any]:
    _agree("quantizer_kwargs.input_dim", f.take("input_dim", 1280), dim)
    stack = f.take("rvq_dim")
    f.require("output_dim", dim)
    f.require("codebook_dim", stack, 8)  # decode_codes leaves out the maps of the levels
    out = {
        "kind": "residual_vq",
        "num_codebooks": f.take("num_quantizers", 32),
        "codebook_size": f.take("codebook_size", 1024),
        "stack_dim": 0 if stack == dim else stack,
        "decay": f.take("decay", 0.99),
        "commitment_weight": float(f.take("commitment", 1.0)),
        "kmeans_init": bool(f.take("kmeans_init", True)),
        "kmeans_iterations": f.take("kmeans_iters", 10),
        "dropout": float(f.take("quantizer_dropout", 0.5)),
    }
    f.drop("epsilon", "threshold_ema_dead", "skip_rvq_ratio")  # of training
    f.done()
    return out


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS, "sample_rate", "input_sample_rate", "output_sample_rate")
    g = Fields(f.take("generator_params", {}), "generator_params")
    f.done()
    return _network(g)


def _hf(config: Mapping[str, Any]) -> dict[str, Any]:
    """Our config fields from the `config.json` of a folder of transformers."""
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS, *TRANSFORMERS_KEYS, "initializer_range")
    rates = {name: f.take(f"{name}_rate") for name in ("input_sample", "output_sample", "encoder_downsample", "decoder_upsample")}
    params, width = f.take("params"), f.take("code_dim", None)
    f.require("input_sampling_rate", rates["input_sample"])
    f.done()
    out = _network(Fields({**params, **{f"{name}_rate": rate for name, rate in rates.items()}}, "params"))
    if width is not None:
        _agree("code_dim", width, out["pool"] * out["down_dim"])
    return out


def _network(g: Fields) -> dict[str, Any]:
    """Our config fields from the constructor's arguments."""
    rate = g.take("input_sample_rate", g.take("sample_rate", 16000))
    mel = _part(g, "feature_extractor_kwargs")
    bands, hop, window = mel.take("feature_size", 80), mel.take("hop_length", 160), mel.take("n_samples", 480_000)
    out: dict[str, Any] = {"sample_rate_hz": rate, "bands": bands, "fft_samples": mel.take("n_fft", 400), "mel_hop": hop}
    mel.require("sampling_rate", rate, 16000)
    mel.require("padding_value", 0.0)
    mel.require("padding_side", "right")
    mel.drop("chunk_length", "nb_max_frames", "return_attention_mask", "return_tensors")
    mel.done()
    out |= {"window_samples": window, "kept_samples": min(window, _KEPT_SECONDS * rate)}
    out["semantic"], semantic_bands, stride = _mel_side(_part(g, "semantic_encoder_kwargs"), rate, hop, "encoder")
    out["acoustic"], acoustic_bands, acoustic_stride = _mel_side(_part(g, "acoustic_encoder_kwargs"), rate, hop, "encoder")
    _agree("semantic_encoder_kwargs.num_mel_bins", semantic_bands, bands)
    _agree("acoustic_encoder_kwargs.num_mel_bins", acoustic_bands, bands)
    _agree("acoustic_encoder_kwargs.stride_size", acoustic_stride, stride)
    out["adapter"], inputs, out["adapter_dim"] = _adapter(_part(g, "semantic_encoder_adapter_kwargs"))
    _agree("semantic_encoder_adapter_kwargs.input_dim", inputs, out["semantic"]["width"])
    out["before"], inputs, before = _adapter(_part(g, "pre_rvq_adapter_kwargs"))
    _agree("pre_rvq_adapter_kwargs.input_dim", inputs, out["adapter_dim"] + out["acoustic"]["width"])
    down = _part(g, "downsample_kwargs")
    out |= {"stride": stride, "down_dim": down.take("d_model", 1280), "pool": down.take("avg_pooler", 4)}
    down.done()
    _agree("downsample_kwargs.d_model", out["down_dim"], before)
    if hop * stride * out["pool"] != _HOP:
        raise ValueError(f"an id has {hop * stride * out['pool']} samples; the authors' class counts with {_HOP}.")
    dim = out["pool"] * before
    out["quantizer"] = _quantizer(_part(g, "quantizer_kwargs"), dim)
    out |= _decoder(g, dim)
    _check_rates(g, rate, out)
    g.done()
    return out


def _check_rates(g: Fields, rate: int, out: dict[str, Any]) -> None:
    """Compare the rates that newer configs state with those that follow from the parts."""
    samples = out["up"] * out["decoder_stride"] * out["vocos_hop"]
    g.require("encoder_downsample_rate", _HOP)
    g.require("decoder_upsample_rate", samples)
    if (stated := g.take("output_sample_rate", None)) is not None:
        _agree("output_sample_rate", stated, samples * rate // _HOP)


def _decoder(g: Fields, dim: int) -> dict[str, Any]:
    """The fields of the half behind the quantizer."""
    out: dict[str, Any] = {}
    out["after"], inputs, outputs = _adapter(_part(g, "post_rvq_adapter_kwargs"))
    _agree("post_rvq_adapter_kwargs.input_dim", inputs, dim)
    up = _part(g, "upsample_kwargs")
    out["up"], width = up.take("stride", 4), up.take("d_model", 1280)
    up.done()
    _agree("post_rvq_adapter_kwargs.output_dim", outputs, out["up"] * width)
    side = dict(g.take("acoustic_decoder_kwargs", _PUBLISHED["acoustic_decoder_kwargs"]))
    rate, hop = side.get("sampling_rate", 16000), side.get("hop_length", 160)  # for the length of its table only
    decoder = Fields(side, "acoustic_decoder_kwargs")
    out["decoder"], out["decoder_bands"], out["decoder_stride"] = _mel_side(decoder, rate, hop, "decoder")
    _agree("acoustic_decoder_kwargs.d_model", out["decoder"]["width"], width)
    v = _part(g, "vocos_kwargs")
    _agree("vocos_kwargs.input_channels", v.take("input_channels", 128), out["decoder_bands"])
    v.require("padding", "same")
    v.require("adanorm_num_embeddings", None)
    out |= {
        "vocos_width": v.take("dim", 512),
        "vocos_hidden": v.take("intermediate_dim", 4096),
        "vocos_layers": v.take("num_layers", 30),
        "vocos_window": v.take("n_fft", 640),
        "vocos_hop": v.take("hop_size", 160),
    }
    v.done()
    return out


# --- weights --------------------------------------------------------------------------------------------------------


def _stack_rows(theirs: str, ours: str) -> list[Row]:
    return [
        (f"{theirs}proj.*", f"{ours}in_proj.*"),
        (f"{theirs}positional_embedding", f"{ours}table"),
        *hf_blocks(theirs, ours),
        (f"{theirs}layer_norm.*", f"{ours}norm.*"),
        (f"{theirs}out_proj.*", f"{ours}out_proj.*"),
    ]


_CONVNEXT = (("dwconv.*", "depthwise.*"), ("norm.*", "norm.*"), ("pwconv1.*", "up.*"), ("pwconv2.*", "down.*"), ("gamma", "scale"))
_VOCOS = "[vocos|enhanced_vocos]."
_BOOK = "quantizer.quantizers.{}."
_ROWS: list[Row] = [
    *(row for side in ("semantic_encoder.", "acoustic_encoder.") for row in stem_rows(side, f"{side}stem.")),
    *(row for side in ("semantic_encoder.", "acoustic_encoder.") for row in _stack_rows(side, f"{side}stack.")),
    *_stack_rows("semantic_encoder_adapter.", "adapter."),
    *_stack_rows("pre_rvq_adapter.", "before."),
    ("downsample.{gate|up|down}_proj.weight", "down.{gate|up|down}.weight"),
    ("downsample.layer_norm.*", "down.norm.*"),
    ("quantizer.input_proj.*", "quantizer.in_proj.*"),
    ("quantizer.output_proj.*", "quantizer.out_proj.*"),
    (f"{_BOOK}codebook", "quantizer.levels.{}.codebook.embed"),
    (f"{_BOOK}embed_avg", "quantizer.levels.{}.codebook.sums"),
    (f"{_BOOK}cluster_size", "quantizer.levels.{}.codebook.counts"),
    (f"{_BOOK}inited", "quantizer.levels.{}.codebook.ready"),
    *_stack_rows("post_rvq_adapter.", "after."),
    ("upsample.up_conv.weight", "up.weight"),
    ("acoustic_decoder.deconv1.*", "decoder.conv_in.*"),
    ("acoustic_decoder.deconv2.*", "decoder.conv_out.*"),
    *_stack_rows("acoustic_decoder.", "decoder.stack."),
    (f"{_VOCOS}backbone.embed.*", "vocos.embed.*"),
    (f"{_VOCOS}backbone.norm.*", "vocos.norm_in.*"),
    *((f"{_VOCOS}backbone.convnext.{{}}.{a}", f"vocos.blocks.{{}}.{b}") for a, b in _CONVNEXT),
    (f"{_VOCOS}backbone.final_layer_norm.*", "vocos.norm_out.*"),
    (f"{_VOCOS}head.istft.window", None),  # a Hann window
    (f"{_VOCOS}head.out.*", "vocos.head.out.*"),
]


#: The feed-forward layers have a level more in the folders of transformers; what had their name otherwise is read as well.
_HF_ROWS: list[Row] = [
    (left.replace(".fc1.", ".[mlp.fc1|fc1].").replace(".fc2.", ".[mlp.fc2|fc2]."), right) for left, right in _ROWS
]


def _keys(own: XYConfig) -> KeyMap:
    return _key_map(_ROWS)


def _hf_keys(own: XYConfig) -> KeyMap:
    return _key_map(_HF_ROWS)


def _key_map(rows: list[Row]) -> KeyMap:
    return KeyMap(
        Unwrap("generator"),
        WeightNorm(on=("quantizer.{input_proj|output_proj}.weight",)),
        Rename(rows),
        pointwise("quantizer.{in_proj|out_proj}.weight"),
        running_codebooks(),
    )


LAYOUTS = (
    Layout(
        system="xy-tokenizer",
        upstream="gyt1145028706/XY-Tokenizer xy_tokenizer/model.py XY_Tokenizer",
        family="xy",
        config=_config,
        keys=_keys,
        files=("config.yaml", "xy_tokenizer.ckpt"),
    ),
    Layout(
        system="xy_tokenizer-hf",
        upstream="OpenMOSS-Team/XY_Tokenizer_TTSD_V0_hf modeling_xy_tokenizer.py XYTokenizerModel",
        family="xy",
        config=_hf,
        keys=_hf_keys,
        model_type="xy_tokenizer",
        class_name="XYTokenizerModel",
    ),
)
