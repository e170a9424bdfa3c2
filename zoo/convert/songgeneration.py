"""SongGeneration (LeVo): MusicFM under `bestrq.`, one factorised quantizer a track beside the flow decoder.

The authors' sizes stand in their classes. A reference folder's `config.json` gives what differs, in their words:

    class      `PromptCondAudioDiffusion` (with `file` model_1rvq.py or model_septoken.py), or `ResidualVectorQuantize` alone
    musicfm    arguments of `MusicFMConfig`;  conformer: those of `Wav2Vec2ConformerConfig`
    rvq        arguments of `ResidualVectorQuantize`; for that class alone they stand at the top
    layer_vocal, layer_bgm, layer_num    of `Tango`
    flow       arguments of `GPT2Config`, and `num_channels_latents`, `mask_dim`: the flow transformer is wanted too, separate
               tokens only; without this key its weights are left out
    model      the VAE's, in the terms of stable-audio-tools (with `flow`); its weights stand under `decoder.`
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .base import Converter, flat, fold_weight_norm, rename
from .old_dac import one_width, pointwise_to_linear
from .fields import FOLDER_KEYS, Fields

#: Constructor arguments of the authors' classes that concern the decoder, training, or files.
_UNUSED = (
    "hubert_layer", "num_channels", "out_paint", "snr_gamma", "ssl_layer", "ssl_path", "uncondition",
    "unet_model_config_path", "unet_model_name",
)  # fmt: skip
#: Of the VAE's file: its training, and what the class of that name does not read.
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
    """Two tracks, unless the file that holds the class, or the layer that `Tango` takes, is the single-token model's."""
    file = str(dict(config.get("source") or {}).get("file", ""))
    return not ("1rvq" in file or "layer_num" in config)


def _quantizer(f: Fields, tracks: int) -> tuple[dict[str, Any], int]:
    width, levels = f.take("input_dim", 1024), f.take("n_codebooks", 1)
    f.drop("quantizer_dropout", "stale_tolerance")
    out = {
        "kind": "grouped_vq",
        "groups": tracks,
        "levels": levels,
        "codebook_size": f.take("codebook_size", 16384),
        "codebook_dim": one_width("codebook_dim", f.take("codebook_dim", 32)),
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
    quantizer, width = _quantizer(Fields(f.take("rvq", {}), "rvq"), 2 if separate else 1)
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


def _table_keys(theirs: str, group: int) -> list[tuple[str, str]]:
    ours = rf"quantizer.stacks.{group}.levels.\1"
    return [
        (rf"{theirs}quantizers\.(\d+)\.(in_proj|out_proj)\.(weight|bias)", rf"{ours}.\2.\3"),
        (rf"{theirs}quantizers\.(\d+)\.codebook\.weight", rf"{ours}.codebook.embed"),
    ]


def _conformer_keys() -> list[tuple[str, str]]:
    parts = {
        "ffn1_layer_norm": "before.0",
        r"ffn1\.intermediate_dense": "before.1",
        r"ffn1\.output_dense": "before.3",
        "self_attn_layer_norm": "attention.norm",
        r"self_attn\.linear_q": "attention.q",
        r"self_attn\.linear_k": "attention.k",
        r"self_attn\.linear_v": "attention.v",
        r"self_attn\.linear_out": "attention.out",
        r"conv_module\.layer_norm": "conv.norm",
        r"conv_module\.pointwise_conv1": "conv.gate",
        r"conv_module\.depthwise_conv": "conv.depthwise",
        r"conv_module\.pointwise_conv2": "conv.out",
        "ffn2_layer_norm": "after.0",
        r"ffn2\.intermediate_dense": "after.1",
        r"ffn2\.output_dense": "after.3",
        "final_layer_norm": "norm",
    }
    theirs, statistics = r"bestrq\.model\.conformer\.layers\.(\d+)", "weight|bias|running_mean|running_var|num_batches_tracked"
    return [
        *((rf"{theirs}\.{a}\.(weight|bias)", rf"musicfm.blocks.\1.{b}.\2") for a, b in parts.items()),
        (rf"{theirs}\.conv_module\.batch_norm\.({statistics})", r"musicfm.blocks.\1.conv.batch_norm.\2"),
        (r"bestrq\.model\.conformer\.layer_norm\.(weight|bias)", r"musicfm.norm.\1"),
        (r"bestrq\.model\.conv\.conv\.(\d+)\.conv(\d)\.(weight|bias)", r"musicfm.conv.\1.conv\2.\3"),
        (rf"bestrq\.model\.conv\.conv\.(\d+)\.bn(\d)\.({statistics})", r"musicfm.conv.\1.norm\2.\3"),
        (r"bestrq\.model\.conv\.linear\.(weight|bias)", r"musicfm.proj.\1"),
    ]


_FLOW_KEYS = [
    (r"mask_emb\.weight", "flow.mask.weight"),
    *(
        (rf"cfm_wrapper\.estimator\.{a}", f"flow.{b}")
        for a, b in (
            (r"wpe\.weight", "positions"),
            (r"adaln_single\.emb\.timestep_embedder\.linear_1\.(weight|bias)", r"time_in.\1"),
            (r"adaln_single\.emb\.timestep_embedder\.linear_2\.(weight|bias)", r"time_out.\1"),
            (r"adaln_single\.linear\.(weight|bias)", r"modulation.\1"),
            (r"h\.(\d+)\.ln_(1|2)\.(weight|bias)", r"blocks.\1.norm\2.\3"),
            (r"h\.(\d+)\.attn\.c_attn\.(weight|bias)", r"blocks.\1.qkv.\2"),
            (r"h\.(\d+)\.attn\.c_proj\.(weight|bias)", r"blocks.\1.out.\2"),
            (r"h\.(\d+)\.mlp\.c_fc\.(weight|bias)", r"blocks.\1.up.\2"),
            (r"h\.(\d+)\.mlp\.c_proj\.(weight|bias)", r"blocks.\1.down.\2"),
            (r"h\.(\d+)\.scale_shift_table", r"blocks.\1.table"),
            (r"ln_f\.(weight|bias)", r"norm.\1"),
            (r"scale_shift_table", "table"),
            (r"proj_out\.(weight|bias)", r"head.\1"),
        )
    ),
    (r"normfeat\.(counts|sum_x|sum_x2)", r"flow.\1"),
]


def _oobleck_keys(levels: int) -> list[tuple[str, str]]:
    """Numbered layers: stem, levels (snake, convolution, three units of four layers), snake, head."""
    root = r"(?:state_dict\.)?decoder\.layers"
    level, unit = rf"{root}\.(\d+)\.layers", r"\.(2|3|4)\.layers\.(\d+)\."
    return [
        (rf"{root}\.0\.(weight|bias)", r"vae.stem.\1"),
        (rf"{root}\.{levels + 1}\.(alpha|beta)", r"vae.act.\1"),
        (rf"{root}\.{levels + 2}\.weight", "vae.head.weight"),
        (rf"{level}\.0\.(alpha|beta)", r"vae.levels.\1.act.\2"),
        (rf"{level}\.1\.(weight|bias)", r"vae.levels.\1.up.\2"),
        (rf"{level}{unit}(weight|bias|alpha|beta)", r"vae.levels.\1.units.\2.\3.\4"),
    ]


def _finish_flow(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """GPT-2's transposed matrices; the statistics of the latents as mean and deviation."""
    out = dict(state)
    for key, value in state.items():
        if key.startswith("flow.blocks.") and key.endswith((".qkv.weight", ".out.weight", ".up.weight", ".down.weight")):
            out[key] = value.t().contiguous()
    counts, total, squares = (out.pop(f"flow.{k}") for k in ("counts", "sum_x", "sum_x2"))
    known = float(counts) >= 10
    mean = total / counts if known else total.new_zeros(total.shape)
    deviation = (squares / counts - mean.square()).clamp(min=0).sqrt() if known else total.new_ones(total.shape)
    return out | {"flow.mean": mean, "flow.deviation": deviation}


def _shift_oobleck(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Their levels count from 1, their units from 2."""
    out = {}
    for key, value in state.items():
        parts = key.split(".")
        if key.startswith("vae.levels."):
            parts[2] = str(int(parts[2]) - 1)
            parts[4:5] = [str(int(parts[4]) - 2)] if parts[3] == "units" else parts[4:5]
        out[".".join(parts)] = value
    return out


#: Left out on purpose: MusicFM's head, its tables for training, what it computes anew, and a convolution that transformers
#: makes but does not use; counters of unused codes; parts of the flow that inference does not use; other teachers.
_DROPPED = (
    r"hubert\..*",
    r"zero_cond_embedding1|normfeat\.sum_target_x2|cfm_wrapper\.mlp\..*|cfm_wrapper\.estimator\.wte\.weight",
    r"cfm_wrapper\.estimator\.h\.\d+\.attn\.(bias|masked_bias)",
    r"(rsp48toclap|rsq48towav2vec|rsq48tobestrq|rsq48tohubert)\.kernel",
    r"bestrq\.model\.(linear\.(weight|bias)|cls_token|preprocessor_.*|quantizer_.*)",
    r"bestrq\.model\.conformer\.(pos_conv_embed\..*|embed_positions\.inv_freq)",
    r"(rvq_bestrq_emb\.|rvq_bestrq_bgm_emb\.|)quantizers\.\d+\.stale_counter",
)
#: Without `flow`: the flow decoder; without `model`: the VAE. Of the VAE's file the encoder, and what a run notes beside.
_NO_FLOW = (r"(cfm_wrapper|normfeat|mask_emb)\..*",)
_NO_VAE = (r"(state_dict\.)?(encoder|decoder)\..*",)
_VAE_REST = (r"(state_dict\.)?encoder\..*", r"(epoch|global_step|pytorch-lightning_version|loops|callbacks)(\..*)?")


def _weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    if _alone(config):
        table = _table_keys("", 0)
    else:
        table = _table_keys(r"rvq_bestrq_emb\.", 0) + _conformer_keys()
        table += _table_keys(r"rvq_bestrq_bgm_emb\.", 1) if _separate(config) else []
    flow, vae = (None, None) if _alone(config) else (_config(config)["flow"], _config(config)["vae"])
    table = table + (_FLOW_KEYS if flow else []) + (_oobleck_keys(len(vae["strides"])) if vae else [])
    dropped = (*_DROPPED, *(() if flow else _NO_FLOW), *(_VAE_REST if vae else _NO_VAE))
    out = pointwise_to_linear(rename(fold_weight_norm(flat(state)), table, dropped=dropped))
    out = _shift_oobleck(out) if vae else out
    return _finish_flow(out) if flow else out


CONVERTERS = (
    Converter(
        system="songgeneration",
        upstream="tencent-ailab/SongGeneration PromptCondAudioDiffusion",
        family="levo",
        config=_config,
        weights=_weights,
    ),
)
