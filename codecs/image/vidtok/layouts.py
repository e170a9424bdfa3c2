"""VidTok with finite scalar codes, microsoft/VidTok @ d6ad92d98e, `AutoencodingEngine`; Lightning files and the YAML of each."""

from collections.abc import Mapping
from typing import Any

from ...layouts.configs import check_round_trip, open_config, part, the_quantizer
from ...layouts.fields import Fields
from ...layouts.keymap import KeyMap, NotWritable, Rename, Row, Unwrap, pointwise
from ...layouts.layout import Layout
from ...quantizers.fsq import FSQConfig
from .model import VidTokConfig

_SYSTEM = "vidtok"
#: The authors' modules and names of encoder and decoder.
_CLASSES = {
    "causal": ("vidtok.modules.model_3dcausal", "EncoderCausal3DPadding", "DecoderCausal3DPadding"),
    "causal_v1_1": ("vidtok.modules.model_3dcausal_v1_1", "EncoderCausal3DPadding", "DecoderCausal3DPadding"),
    "noncausal": ("vidtok.modules.model_3dnoncausal", "Encoder3D", "Decoder3D"),
}
#: How the published YAML says that the decoder has the encoder's settings.
_SAME = "${model.params.encoder_config.params}"


def _side(c: Fields, *, decoder: bool) -> dict[str, Any]:
    """Settings of one side that both must share, and, of the encoder or the decoder alone, `time`."""
    targets = {f"{module}.{names[decoder]}": kind for kind, (module, *names) in _CLASSES.items()}
    kind, p = c.one_of("target", targets), part(c, "params")
    c.done()
    p.drop("use_checkpoint", "fix_encoder", "fix_decoder")
    for key, value in (("double_z", False), ("in_channels", 3), ("out_ch", 3)):
        p.require(key, value)
    for key, value in (("norm_type", "groupnorm"), ("resamp_with_conv", True), ("tanh_out", False), ("give_pre_end", False)):
        p.require(key, "layernorm" if key == "norm_type" else value, value)
    width, mult = p.take("ch"), tuple(p.take("ch_mult", (1, 2, 4, 8)))
    last = len(mult) - 1
    time = p.take("tempo_us" if decoder else "tempo_ds", None)
    p.drop("tempo_ds" if decoder else "tempo_us", "spatial_ds" if decoder else "spatial_us")  # each class reads its own
    usual = [1, 2] if decoder else [last - 1, last - 2]
    time = usual if time is None or kind == "noncausal" else time  # the class that is not causal has no such setting
    space, all_levels = p.take("spatial_us" if decoder else "spatial_ds", None), list(range(decoder, last + decoder))
    if kind != "noncausal" and space is not None and sorted(space) != all_levels:
        raise ValueError(f"{p.name}: spatial levels are {list(space)}; supported are {all_levels}, every change of level.")
    factor = p.take("time_downsample_factor", 4)
    if kind != "noncausal" and factor != 2 ** len(time):
        raise ValueError(f"{p.name}: time_downsample_factor is {factor}; the class halves frames {len(time)} times.")
    if kind == "noncausal":
        p.drop("init_pad_mode")
    else:
        p.require("init_pad_mode", "replicate", "replicate")
    trilinear = p.one_of("interpolation_mode", {"nearest": False, "trilinear": True}, "nearest") and kind == "causal_v1_1"
    out = {
        "widths": [width * m for m in mult],
        "stem_width": width,
        "blocks": p.take("num_res_blocks"),
        "latent_dim": p.take("z_channels"),
        "kind": kind,
        "interpolate": trilinear,
        "dropout": float(p.take("dropout", 0.0)),
        "time": sorted(time),
    }
    p.done(swallowed=True)
    return out


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    kept = {k: config[k] for k in ("model",) if k in config} or config  # beside it the YAML has data and trainer
    c = open_config(kept, _SYSTEM)
    c.drop("monitor", "mode", "ckpt_path", "ignore_keys", "ema_decay", "loss_config", "optimizer_config", "lr_g_factor")
    c.drop("compile_model", "input_key", "use_tiling", "use_overlap", "t_chunk_enc", "t_chunk_dec", "verbose", "base_learning_rate")
    c.drop("target")  # of the whole
    theirs = dict(c.take("encoder_config")), dict(c.take("decoder_config"))
    if theirs[1].get("params") == _SAME:
        theirs[1]["params"] = theirs[0]["params"]
    encoder = _side(Fields(theirs[0], f"{_SYSTEM}.encoder_config"), decoder=False)
    decoder = _side(Fields(theirs[1], f"{_SYSTEM}.decoder_config"), decoder=True)
    times = {"time_down": encoder.pop("time"), "time_up": decoder.pop("time")}
    if encoder != decoder | {"interpolate": encoder["interpolate"]}:
        raise ValueError(f"{_SYSTEM}: encoder_config and decoder_config differ; they must have the same settings.")
    q = part(c, "regularizer_config")
    q.require("target", "vidtok.modules.regularizers.FSQRegularizer")
    settings = part(q, "params")
    q.done()
    settings.drop("entropy_loss_weight", "entropy_loss_annealing_steps", "entropy_loss_annealing_factor", "commitment_loss_weight")
    settings.drop("diversity_gamma", "scale")  # nothing reads scale
    levels = settings.take("levels")
    for key, value in (("dim", None), ("num_codebooks", 1), ("keep_num_codebooks_dim", None)):
        settings.require(key, value, value)
    settings.done()
    c.done()
    if encoder["latent_dim"] != len(levels):
        raise ValueError(f"{_SYSTEM}: z_channels is {encoder['latent_dim']}, the number of levels {len(levels)}; they must be equal.")
    return {"networks": encoder | times | {"interpolate": decoder["interpolate"]}, "quantizer": {"kind": "fsq", "levels": levels}}


def _back(own: VidTokConfig) -> dict[str, Any]:
    s = own.networks
    if any(w % s.stem_width for w in s.widths):
        raise NotWritable(f"widths are {s.widths}; the authors' class has multiples of stem_width, {s.stem_width}.")
    module, *names = _CLASSES[s.kind]
    params: dict[str, Any] = {
        "double_z": False,
        "z_channels": s.latent_dim,
        "in_channels": 3,
        "out_ch": 3,
        "ch": s.stem_width,
        "ch_mult": [w // s.stem_width for w in s.widths],
        "time_downsample_factor": s.time_factor,
        "num_res_blocks": s.blocks,
        "dropout": s.dropout,
        "norm_type": "layernorm",
    }
    if s.kind != "noncausal":
        params |= {"tempo_ds": list(s.time_down), "tempo_us": list(s.time_up), "init_pad_mode": "replicate"}
    if s.kind == "causal_v1_1":
        params["interpolation_mode"] = "trilinear" if s.interpolate else "nearest"
    out = {
        f"{side}_config": {"target": f"{module}.{name}", "params": dict(params)}
        for side, name in zip(("encoder", "decoder"), names, strict=True)
    }
    levels = list(the_quantizer(own.quantizer, FSQConfig).levels)
    out["regularizer_config"] = {"target": "vidtok.modules.regularizers.FSQRegularizer", "params": {"levels": levels}}
    return check_round_trip(own, out, _config)


def _block(theirs: str, ours: str, conv: str) -> list[Row]:
    """A residual block; `conv` is the name inside the authors' causal convolutions, if any."""
    return [
        (f"{theirs}.{{norm1|norm2}}.norm.*", f"{ours}.{{norm1|norm2}}.*"),
        (f"{theirs}.{{conv1|conv2}}{conv}.*", f"{ours}.{{conv1|conv2}}.*"),
    ]


def keys(own: VidTokConfig) -> KeyMap:
    """The authors' names of the weights of a tokenizer."""
    conv = "" if own.networks.kind == "noncausal" else ".conv"
    rows: list[Row] = [("loss.**", None), ("model_ema.**", None)]  # discriminator; averages, which the authors' programs leave alone
    for side, way, space in (("encoder", "down", "space"), ("decoder", "up", "space.conv")):
        level = f"{side}.levels.{{}}"
        rows += [
            (f"{side}.conv_in{conv}.*", f"{side}.stem.*"),
            (f"{side}.conv_out{conv}.*", f"{side}.head.*"),
            (f"{side}.norm_out.norm.*", f"{side}.norm_out.*"),
            *_block(f"{side}.{way}.{{}}.block.{{}}", f"{level}.over_space.{{}}", ""),
            (f"{side}.{way}.{{}}.block.{{}}.nin_shortcut.*", f"{level}.over_space.{{}}.shortcut.*"),
            *_block(f"{side}.{way}_temporal.{{}}.block.{{}}", f"{level}.over_time.{{}}", conv),
            (f"{side}.{way}.{{}}.{way}sample.conv.*", f"{level}.{space}.*"),
            (f"{side}.{way}_temporal.{{}}.{way}sample.conv{conv}.*", f"{level}.time.conv.*"),
            (f"{side}.{way}_temporal.{{}}.{way}sample.mix_factor", f"{level}.time.mix"),
            *_block(f"{side}.mid.block_1", f"{side}.middle.first", conv),
            *_block(f"{side}.mid.block_2", f"{side}.middle.last", conv),
            (f"{side}.mid.attn_1.norm.norm.*", f"{side}.middle.attention.norm.*"),
            (f"{side}.mid.attn_1.{{q|k|v}}{conv}.*", f"{side}.middle.attention.{{q|k|v}}.*"),
            (f"{side}.mid.attn_1.proj_out{conv}.*", f"{side}.middle.attention.out.*"),
        ]
    linear = pointwise("**.attention.{q|k|v|out}.weight", axes=3), pointwise("**.shortcut.weight", axes=2)
    return KeyMap(Unwrap("state_dict"), Rename(rows), *linear)


LAYOUTS = (
    Layout(
        system=_SYSTEM,
        upstream="microsoft/VidTok vidtok/models/autoencoder.py AutoencodingEngine",
        family="vidtok",
        config=_config,
        keys=keys,
        authors_config=_back,
    ),
)
