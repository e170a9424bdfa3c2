"""SongGeneration (LeVo): MusicFM under `bestrq.`, one factorised quantizer for each track, and the flow decoder.

The authors' sizes are the default arguments of their classes. A `config.json` states only what differs, under their names:

    class      `PromptCondAudioDiffusion` (with `file` model_1rvq.py or model_septoken.py), or `ResidualVectorQuantize` alone
    musicfm    arguments of `MusicFMConfig`;  conformer: those of `Wav2Vec2ConformerConfig`
    rvq        arguments of `ResidualVectorQuantize`; for that class alone they are at the top level
    layer_vocal, layer_bgm, layer_num    of `Tango`
    flow       arguments of `GPT2Config`, and `num_channels_latents`, `mask_dim`: the flow transformer is loaded too, separate
               tokens only; without this key its weights are left out
    model      the VAE's, in the terms of stable-audio-tools (with `flow`); its weights are under `decoder.`
"""

from collections.abc import Mapping
from typing import Any

from ...layouts.fields import FOLDER_KEYS, Fields
from ...layouts.keymap import KeyMap, Rename, Row, State, Then, WeightNorm, flat, pointwise, transposed
from ...layouts.layout import Layout
from .model import LeVoConfig

#: Constructor arguments of the authors' classes that no token depends on: of the waveform decoder, of training, paths of files.
_UNUSED = (
    "hubert_layer", "num_channels", "out_paint", "snr_gamma", "ssl_layer", "ssl_path", "uncondition",
    "unet_model_config_path", "unet_model_name",
)  # fmt: skip
#: Keys of the VAE's file that concern its training, or that its decoder does not read.
_VAE_UNUSED = ("audio_channels", "model_type", "sample_rate", "sample_size", "training")
_FLOW_UNUSED = (
    "attn_pdrop", "bos_token_id", "embd_pdrop", "eos_token_id", "initializer_range", "resid_pdrop", "summary_activation",
    "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj", "use_cache", "vocab_size",
)  # fmt: skip
_MUSICFM_UNUSED = (
    "codebook_dim", "codebook_size", "is_flash", "label_rate", "mask_hop", "mask_prob", "model_path", "num_codebooks",
    "rvq_ckpt_path", "stat_path", "use_rvq_target", "w2v2_config_path",
)  # fmt: skip


def _alone(config: Mapping[str, Any]) -> bool:
    return "input_dim" in config


def _separate(config: Mapping[str, Any]) -> bool:
    """True for two tracks; False if the source file or the key `layer_num` is that of the single-token model."""
    file = str(dict(config.get("source") or {}).get("file", ""))
    return not ("1rvq" in file or "layer_num" in config)


def _quantizer(f: Fields, tracks: int) -> tuple[dict[str, Any], int]:
    width, levels = f.take("input_dim", 1024), f.take("n_codebooks", 1)
    widths = f.take("codebook_dim", 32)
    if not isinstance(widths, int) and len(set(widths)) != 1:
        raise ValueError(f"{f.name}.codebook_dim is {widths}: levels of different widths are not supported.")
    f.drop("quantizer_dropout", "stale_tolerance")
    out = {
        "kind": "grouped_vq",
        "groups": tracks,
        "levels": levels,
        "codebook_size": f.take("codebook_size", 16384),
        "codebook_dim": widths if isinstance(widths, int) else widths[0],
        "normalize": True,
        "update": "gradient",
        "kmeans_init": False,
        "replace_below": 0.0,
    }
    return out, width


def _musicfm(values: Mapping[str, Any], conformer: Mapping[str, Any]) -> dict[str, Any]:
    f, w = Fields(values, "musicfm"), Fields(conformer, "conformer")
    f.drop(*_MUSICFM_UNUSED)
    f.require("features", ["melspec_2048"])
    out = {
        "hop_samples": f.take("hop_length", 240),
        "bands": f.take("n_mels", 128),
        "conv_width": f.take("conv_dim", 512),
        "width": f.take("encoder_dim", 1024),
        "layers": f.take("encoder_depth", 12),
        "heads": w.take("num_attention_heads", 16),
        "hidden": w.take("intermediate_size", 4096),
        "kernel_size": w.take("conv_depthwise_kernel_size", 31),
        "rope_base": float(w.take("rotary_embedding_base", 10000)),
        "eps": w.take("layer_norm_eps", 1e-5),
    }
    w.require("position_embeddings_type", "rotary")
    w.one_of("hidden_act", {"swish": None, "silu": None}, "swish")
    w.drop("num_conv_pos_embeddings", "num_conv_pos_embedding_groups")  # of a convolution that is not used
    w.done(swallowed=True)
    f.done()
    return out


def _flow(values: Mapping[str, Any], width: int) -> dict[str, Any]:
    f = Fields(values, "flow")
    f.drop(*_FLOW_UNUSED)
    latent, mask = f.take("num_channels_latents", 64), f.take("mask_dim", 24)
    f.require("n_embd", mask + 2 * latent + 2 * width)
    f.require("activation_function", "gelu_new")
    f.require("scale_attn_weights", True)
    for key in ("scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn", "add_cross_attention"):
        f.require(key, False)
    out = {
        "layers": f.take("n_layer", 16),
        "heads": f.take("n_head", 20),
        "hidden": f.take("n_inner", 4400),
        "latent_dim": latent,
        "mask_dim": mask,
        "window_frames": f.take("n_positions", 1000),
        "eps": f.take("layer_norm_epsilon", 1e-5),
    }
    f.done()
    return out


def _vae(model: Mapping[str, Any]) -> dict[str, Any]:
    """The decoder of stable-audio-tools' Oobleck."""
    if model.get("pretransform") is not None:
        raise ValueError("model.pretransform is not supported.")
    decoder = dict(model["decoder"])
    if decoder.get("type") != "oobleck":
        raise ValueError(f"model.decoder.type is {decoder.get('type')!r}; supported: 'oobleck'.")
    f = Fields(decoder["config"], "model.decoder.config")
    f.drop("latent_dim")
    f.require("use_snake", True, False)
    f.require("final_tanh", False, True)
    for key in ("antialias_activation", "use_nearest_upsample"):
        f.require(key, False)
    out = {
        "width": f.take("channels", 128),
        "multiples": f.take("c_mults", [1, 2, 4, 8]),
        "strides": f.take("strides", [2, 4, 8, 8]),
        "channels": f.take("out_channels", 2),
    }
    f.done()
    return out


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    f = Fields(config, "config")
    if _alone(config):
        f.drop(*FOLDER_KEYS)
        quantizer, width = _quantizer(f, 1)
        f.done()
        return {"tracks": ["mix"], "layers": [0], "feature_dim": width, "musicfm": None, "quantizer": quantizer}
    separate = _separate(config)
    f.drop(*FOLDER_KEYS, *_UNUSED, *_VAE_UNUSED)
    rvq = Fields(f.take("rvq", {}), "rvq")
    quantizer, width = _quantizer(rvq, 2 if separate else 1)
    rvq.done()
    flow, vae = f.take("flow", None), f.take("model", None)
    if flow is not None and not separate:
        raise ValueError("the public code of the single-token model has no flow transformer; leave out the key 'flow'.")
    layers = [f.take("layer_vocal", 7), f.take("layer_bgm", 3)] if separate else [f.take("layer_num", 6)]
    musicfm = _musicfm(f.take("musicfm", {}), f.take("conformer", {}))
    f.done()
    return {
        "tracks": ["vocal", "accompaniment"] if separate else ["mix"],
        "layers": layers,
        "feature_dim": width,
        "musicfm": musicfm,
        "quantizer": quantizer,
        "flow": None if flow is None else _flow(flow, width),
        "vae": None if vae is None else _vae(vae),
    }


# --- weights --------------------------------------------------------------------------------------------------------

_STATISTICS = "{weight|bias|running_mean|running_var|num_batches_tracked}"
_CONFORMER = (
    ("ffn1_layer_norm", "before.0"),
    ("ffn1.intermediate_dense", "before.1"),
    ("ffn1.output_dense", "before.3"),
    ("self_attn_layer_norm", "attention.norm"),
    ("self_attn.linear_q", "attention.q"),
    ("self_attn.linear_k", "attention.k"),
    ("self_attn.linear_v", "attention.v"),
    ("self_attn.linear_out", "attention.out"),
    ("conv_module.layer_norm", "conv.norm"),
    ("conv_module.pointwise_conv1", "conv.gate"),
    ("conv_module.depthwise_conv", "conv.depthwise"),
    ("conv_module.batch_norm", "conv.batch_norm"),
    ("conv_module.pointwise_conv2", "conv.out"),
    ("ffn2_layer_norm", "after.0"),
    ("ffn2.intermediate_dense", "after.1"),
    ("ffn2.output_dense", "after.3"),
    ("final_layer_norm", "norm"),
)

#: MusicFM below `bestrq.model.`.
MUSICFM: tuple[Row, ...] = (
    *((f"bestrq.model.conformer.layers.{{}}.{a}.*", f"musicfm.blocks.{{}}.{b}.*") for a, b in _CONFORMER),
    ("bestrq.model.conformer.layer_norm.*", "musicfm.norm.*"),
    ("bestrq.model.conv.linear.*", "musicfm.proj.*"),
    *((f"bestrq.model.conv.conv.{{}}.conv{i}.*", f"musicfm.conv.{{}}.conv{i}.*") for i in (1, 2, 3)),
    *((f"bestrq.model.conv.conv.{{}}.bn{i}.{_STATISTICS}", f"musicfm.conv.{{}}.norm{i}.{_STATISTICS}") for i in (1, 2, 3)),
)

_FLOW: tuple[Row, ...] = (
    ("mask_emb.weight", "flow.mask.weight"),
    ("normfeat.{counts|sum_x|sum_x2}", "flow.{counts|sum_x|sum_x2}"),
    *(
        (f"cfm_wrapper.estimator.{a}", f"flow.{b}")
        for a, b in (
            ("wpe.weight", "positions"),
            ("adaln_single.emb.timestep_embedder.linear_1.*", "time_in.*"),
            ("adaln_single.emb.timestep_embedder.linear_2.*", "time_out.*"),
            ("adaln_single.linear.*", "modulation.*"),
            ("h.{}.ln_1.*", "blocks.{}.norm1.*"),
            ("h.{}.ln_2.*", "blocks.{}.norm2.*"),
            ("h.{}.attn.c_attn.*", "blocks.{}.qkv.*"),
            ("h.{}.attn.c_proj.*", "blocks.{}.out.*"),
            ("h.{}.mlp.c_fc.*", "blocks.{}.up.*"),
            ("h.{}.mlp.c_proj.*", "blocks.{}.down.*"),
            ("h.{}.scale_shift_table", "blocks.{}.table"),
            ("ln_f.*", "norm.*"),
            ("scale_shift_table", "table"),
            ("proj_out.*", "head.*"),
        )
    ),
)

#: Weights that are dropped: MusicFM's head, its tables for training, buffers that it computes, and a convolution that transformers
#: creates but does not use; counters of unused codes; parts of the flow that inference does not use; other teachers; the state
#: of a training run that is stored beside its weights.
DROPPED = (
    "hubert.**",
    "zero_cond_embedding1", "normfeat.sum_target_x2", "cfm_wrapper.mlp.**", "cfm_wrapper.estimator.wte.weight",
    "cfm_wrapper.estimator.h.{}.attn.{bias|masked_bias}",
    "{rsp48toclap|rsq48towav2vec|rsq48tobestrq|rsq48tohubert}.kernel",
    "bestrq.model.linear.*", "bestrq.model.cls_token", "bestrq.model.preprocessor_*.**", "bestrq.model.quantizer_*.**",
    "bestrq.model.conformer.pos_conv_embed.**", "bestrq.model.conformer.embed_positions.inv_freq",
    "**quantizers.{}.stale_counter",
    "encoder.**", "bottleneck.**", "pretransform.**",  # of the VAE's file
    "{epoch|global_step|pytorch-lightning_version|hparams_name}", "{loops|callbacks|optimizer_states|lr_schedulers|hyper_parameters}",
    "{loops|callbacks|hyper_parameters}.**",
)  # fmt: skip
#: Without `flow`: the flow decoder; without `model`: the VAE.
_NO_FLOW = ("cfm_wrapper.**", "normfeat.**", "mask_emb.**")
_NO_VAE = ("decoder.**",)


def _tables(theirs: str, group: int) -> list[Row]:
    ours = f"quantizer.stacks.{group}.levels.{{}}"
    return [
        (f"{theirs}quantizers.{{}}.{{in_proj|out_proj}}.*", f"{ours}.{{in_proj|out_proj}}.*"),
        (f"{theirs}quantizers.{{}}.codebook.weight", f"{ours}.codebook.embed"),
    ]


def _oobleck(levels: int) -> list[Row]:
    """Numbered layers: stem, levels (snake, convolution, three units of four layers), snake, head."""
    rows: list[Row] = [
        ("decoder.layers.0.*", "vae.stem.*"),
        (f"decoder.layers.{levels + 1}.*", "vae.act.*"),
        (f"decoder.layers.{levels + 2}.*", "vae.head.*"),
    ]
    for i in range(levels):
        theirs, ours = f"decoder.layers.{i + 1}.layers", f"vae.levels.{i}"
        rows += [(f"{theirs}.0.*", f"{ours}.act.*"), (f"{theirs}.1.*", f"{ours}.up.*")]
        rows += [(f"{theirs}.{2 + j}.layers.{{}}.*", f"{ours}.units.{j}.{{}}.*") for j in range(3)]
    return rows


def _files() -> Then:
    """Merge both files into one state dict; the VAE's file has its weights under `state_dict`."""
    return Then(lambda state: {k.removeprefix("state_dict."): v for k, v in flat(state).items()}, lambda state: state)


#: Number of latents that the authors require before they use the statistics.
_COUNTED = 10.0


def _flow_statistics() -> Then:
    """Convert counts and sums of the latents to mean and standard deviation; statistics of too few latents are not used."""

    def read(state: State) -> State:
        out = dict(state)
        counts, total, squares = (out.pop(f"flow.{k}") for k in ("counts", "sum_x", "sum_x2"))
        known = float(counts) >= _COUNTED
        mean = total / counts if known else total.new_zeros(total.shape)
        deviation = (squares / counts - mean.square()).clamp(min=0).sqrt() if known else total.new_ones(total.shape)
        return out | {"flow.mean": mean, "flow.deviation": deviation}

    def write(state: State) -> State:
        out = dict(state)
        mean, deviation = out.pop("flow.mean"), out.pop("flow.deviation")
        squares = _COUNTED * (deviation.square() + mean.square())
        return out | {"flow.counts": mean.new_full((1,), _COUNTED), "flow.sum_x": _COUNTED * mean, "flow.sum_x2": squares}

    return Then(read, write)


def _keys(own: LeVoConfig) -> KeyMap:
    if own.musicfm is None:
        rows = _tables("", 0)
    else:
        rows = [*_tables("rvq_bestrq_emb.", 0), *MUSICFM]
        rows += _tables("rvq_bestrq_bgm_emb.", 1) if len(own.tracks) > 1 else []
    rows += [*(_FLOW if own.flow else ()), *(_oobleck(len(own.vae.strides)) if own.vae else ())]
    dropped = (*DROPPED, *(() if own.flow else _NO_FLOW), *(() if own.vae else _NO_VAE))
    return KeyMap(
        _files(),
        Rename([], also_drop=dropped, keep_unknown=True),
        WeightNorm(on=("**quantizers.{}.{in_proj|out_proj}.weight", "decoder.layers.**.weight")),
        Rename(rows),
        pointwise("quantizer.stacks.{}.levels.{}.{in_proj|out_proj}.weight"),
        transposed("flow.blocks.{}.{qkv|out|up|down}.weight"),  # GPT-2's matrices
        *([_flow_statistics()] if own.flow else []),
    )


LAYOUTS = (
    Layout(
        system="songgeneration",
        upstream="tencent-ailab/SongGeneration PromptCondAudioDiffusion",
        family="levo",
        config=_config,
        keys=_keys,
    ),
)
