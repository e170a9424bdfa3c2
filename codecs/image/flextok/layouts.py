"""FlexTok (apple/ml-flextok): hydra dictionaries; steps are recognised by class, since only two of their names are fixed."""

from collections.abc import Mapping
from typing import Any

from ...layouts.configs import open_config, part, training_only
from ...layouts.fields import Fields
from ...layouts.layout import Layout
from .flextok_keys import flextok_keys

#: Keys that hydra reads of any dictionary that makes an object.
_HYDRA = ("_target_", "_partial_", "_recursive_", "_convert_")

#: Every step names its inputs and outputs in the authors' dictionary of tensors; here they follow from the order of the steps.
_STEP_KEYS = (
    *_HYDRA, "read_key", "write_key", "read_write_key", "eval_keep_k_read_key", "train_keep_k_write_key",
    "eval_drop_flag_read_key", "weight_init_style", "dtype_override", "input_tensor_list_read_key",
    "patches_list_write_key", "n_patches_write_key", "registers_write_key", "register_sizes_read_write_key",
    "posemb_write_key", "timesteps_read_key", "time_embedding_write_key", "flatten_patches",
)  # fmt: skip


def _steps(config: Mapping[str, Any], side: str) -> dict[str, list[tuple[str, Fields]]]:
    """Steps of one side by class name: (step name, its arguments), in order."""
    out: dict[str, list[tuple[str, Fields]]] = {}
    for name, values in config[side]["module_dict"].items():
        fields = Fields(values, f"flextok: {side}.{name}")
        fields.drop(*_STEP_KEYS)
        out.setdefault(values["_target_"].rsplit(".", 1)[-1], []).append((name, fields))
    for kind in ("PerSampleOp", "DictKeyFilter"):  # the first moves the channel axis
        out.pop(kind, None)
    return out


def _usual(c: Fields, **layers: tuple[str, Mapping[str, Any]]) -> None:
    """Take arguments that make layers; only the classes' own defaults are supported, in any of hydra's spellings.

    Args:
        c: the arguments of one step.
        layers: argument -> (last part of the class's name, its arguments).
    """
    for key, (name, arguments) in layers.items():
        value = c.take(key, None)
        if value is None:
            continue
        given = dict(value) if isinstance(value, Mapping) else {"_target_": value}
        target = str(given.pop("path", given.get("_target_"))).rsplit(".", 1)[-1]  # `path`: hydra.utils.get_class
        if target != name or {k: v for k, v in given.items() if k not in _HYDRA} != arguments:
            raise ValueError(f"{c.name}.{key} is {value!r}; only {name} with {arguments} is supported.")


_NORM = ("Fp32LayerNorm", {"bias": False, "elementwise_affine": False})


def _only(steps: Mapping[str, list[tuple[str, Fields]]], kind: str) -> tuple[str, Fields]:
    found = steps.get(kind, [])
    if len(found) != 1:
        raise ValueError(f"flextok: expected one step of the class {kind}, found {len(found)}.")
    return found[0]


def _transformer(c: Fields) -> dict[str, Any]:
    c.drop(
        "input_seq_read_key", "output_seq_write_key", "use_act_checkpoint", "zero_init_query_proj", "block_mask_read_key",
        "adaLN_emb_read_key", "adaLN_packing_fn_read_key", "intermediate_layer_write_key", "drop", "drop_path_rate",
    )  # fmt: skip
    for key in ("score_mod_read_key", "rope_forward_read_key"):
        c.require(key, None)
    _usual(c, act_layer=("SiLU", {}), norm_layer=_NORM)
    return {
        "width": c.take("dim", 768),
        "layers": c.take("depth", 12),
        "head_width": c.take("head_dim", 64),
        "mlp_ratio": c.take("mlp_ratio", 4.0),
        "gated": c.take("gated_mlp", True),
        "qk_norm": c.take("qk_norm", True),
        "qkv_bias": c.take("qkv_bias", False),
        "out_bias": c.take("proj_bias", False),
        "mlp_bias": c.take("mlp_bias", False),
    }


def _packer(c: Fields) -> tuple[list[str], str, bool]:
    """Keys of the parts in order, the mask's name, whether each part has its own modulation."""
    c.drop(
        "packed_seq_write_key", "block_mask_write_key", "inner_packed_shapes_write_key", "outer_packed_shapes_write_key",
        "max_seq_len", "pad_to_multiple", "emb_packing_fn_write_key", "compile_block_mask", "return_materialized_mask",
    )  # fmt: skip
    found = c.take("input_list_read_keys"), c.take("mask_mode", "full"), c.take("per_subseq_embs", False)
    c.done()
    if len(found[0]) != 2:
        raise ValueError(f"{c.name}: {len(found[0])} parts; only patches and registers are supported.")
    return found


def _positions(c: Fields) -> tuple[dict[str, Any], list[int]]:
    kinds = {"learnable_sum": "learned_sum", "learnable_prod": "learned_product", "sincos": "sincos"}
    kind = c.one_of("posemb_type", kinds, "sincos")
    fit = c.one_of("posemb_scaling", {"absolute": "crop", "interpolate": "interpolate"}, "absolute")
    sizes = c.take("max_sizes")
    c.drop("dim")
    c.done()
    return {"kind": kind, "fit": fit}, list(sizes)


def _patches(c: Fields) -> tuple[int, int]:
    sizes, channels = c.take("patch_sizes"), c.take("channels_in")
    c.drop("dim")
    c.done()
    if len(set(sizes)) != 1 or len(sizes) != 2:
        raise ValueError(f"{c.name}: patch_sizes {sizes}; only square patches are supported.")
    return sizes[0], channels


def _encoder(config: Mapping[str, Any]) -> dict[str, Any]:
    steps = _steps(config, "encoder")
    known = {"PatchEmbedder", "PositionalEmbeddingAdder", "Registers1D", "BlockWiseSequencePacker", "FlexTransformer"}
    _known(steps, known | {"SequenceUnpacker", "LinearHead"}, "encoder")
    raw = config["encoder"]["module_dict"]
    _, patch = _only(steps, "PatchEmbedder")
    keys, mask, _ = _packer(_only(steps, "BlockWiseSequencePacker")[1])
    register_name, registers = _only(steps, "Registers1D")
    if keys != [_last_write(raw, "PatchEmbedder", "patches_list_write_key"), raw[register_name]["registers_write_key"]]:
        raise ValueError("flextok: the encoder's sequence must be (patches, registers).")
    head = _only(steps, "LinearHead")[1]
    _usual(head, norm_layer=_NORM)
    for key, value in (("use_mup_readout", False), ("adaLN_emb_read_key", None), ("proj_bias", True)):
        head.require(key, value)
    head.drop("dim")
    latent_dim = head.take("dim_out")
    head.done()
    n_max = registers.take("n_max")
    registers.require("extra_registers_write_key", None)
    registers.drop("dim", "extra_registers_dim")
    training_only(registers, "n_min", n_max)
    training_only(registers, "size_sampling_mode", "uniform")
    positions = steps.get("PositionalEmbeddingAdder", [])
    if len(positions) > 1:
        raise ValueError("flextok: the encoder adds positions more than once; only those of the patches are supported.")
    found = [_positions(fields) for _, fields in positions]
    trunk = _only(steps, "FlexTransformer")[1]
    trunk.drop("intermediate_layers", "adaLN_expansion")
    out = {
        "patch_size": _patches(patch)[0],
        "encoder": _transformer(trunk),
        "encoder_mask": mask,
        "encoder_positions": found[0][0] if found else None,
        "num_registers": n_max,
        "num_tokens": registers.take("n_eval", None) or 0,
        "register_order": registers.take("ordering_mode", "nested"),
        "latent_dim": latent_dim,
        "_sizes": found[0][1] if found else None,
    }
    registers.done()
    trunk.done()
    return out


def _last_write(raw: Mapping[str, Any], kind: str, key: str) -> str:
    return next(v[key] for v in raw.values() if v["_target_"].endswith("." + kind))


def _known(steps: Mapping[str, Any], known: set[str], side: str) -> None:
    for kind in steps:
        if kind not in known:
            raise ValueError(f"flextok: the {side} has a step of the class {kind}, which is not supported.")


def _condition(config: Mapping[str, Any]) -> dict[str, Any]:
    """The steps between `LinearLayer` and the packer that act on the tokens, in order."""
    raw = config["decoder"]["module_dict"]
    stream = _last_write(raw, "LinearLayer", "write_key")
    out: dict[str, Any] = {"steps": []}
    for name, values in raw.items():
        kind, c = values["_target_"].rsplit(".", 1)[-1], Fields(values, f"flextok: decoder.{name}")
        c.drop(*_STEP_KEYS, "dim")
        if kind == "PositionalEmbeddingAdder" and values["read_key"] == stream:
            out["positions"], _ = _positions(c)
            out["steps"].append("positions")
            stream = values["write_key"]
        elif kind == "MaskedNestedDropout":
            out["drop_sampling"] = c.take("size_sampling_mode", "uniform")
            out["steps"].append("drop")
            c.done()
        elif kind in ("LearnedNullCond", "ZeroNullCond"):
            c.require("replace_with_single_token", False)
            out |= {"null": "learned" if kind.startswith("L") else "zero", "null_probability": c.take("dropout_prob", 0.0)}
            out["steps"].append("null")
            c.done()
    return out


def _decoder(config: Mapping[str, Any]) -> dict[str, Any]:
    steps, raw = _steps(config, "decoder"), config["decoder"]["module_dict"]
    known = {"LinearLayer", "PositionalEmbeddingAdder", "MaskedNestedDropout", "LearnedNullCond", "ZeroNullCond"}
    known |= {"PatchEmbedder", "TimestepEmbedder", "BlockWiseSequencePacker", "FlexTransformer", "SequenceUnpacker"}
    known |= {"ToPatchesLinearHead"}
    _known(steps, known, "decoder")
    patch_key = _last_write(raw, "PatchEmbedder", "patches_list_write_key")
    keys, mask, own = _packer(_only(steps, "BlockWiseSequencePacker")[1])
    if mask != "full":
        raise ValueError(f"flextok: the decoder's mask_mode is {mask!r}; only 'full' is supported.")
    trunk = _only(steps, "FlexTransformer")[1]
    expansion = trunk.take("adaLN_expansion", 1)
    if expansion != (2 if own else 1):
        raise ValueError(f"flextok: adaLN_expansion {expansion} does not fit per_subseq_embs {own}.")
    head = _only(steps, "ToPatchesLinearHead")[1]
    _usual(head, norm_layer=_NORM)
    head.require("use_mup_readout", False)
    head.require("adaLN_packing_fn_read_key", None)
    for key in ("proj_bias", "adaLN_bias"):
        head.require(key, True)
    if not head.take("adaLN_emb_read_key", None):
        raise ValueError("flextok: a decoder head without adaLN is not supported.")
    head.drop("dim", "channels_out", "patch_sizes")
    head.done()
    time = _only(steps, "TimestepEmbedder")[1]
    time.require("temb_as_tokens", False)
    positions = [n for n, v in raw.items() if v["_target_"].endswith("Adder") and v["read_key"] == patch_key]
    found = [_positions(f) for n, f in steps.get("PositionalEmbeddingAdder", []) if n in positions]
    layers = trunk.take("intermediate_layers", [])
    out = {
        "decoder": _transformer(trunk),
        "decoder_positions": found[0][0] if found else None,
        "condition": _condition(config),
        "tokens_first": keys.index(patch_key) == 1 if patch_key in keys else True,
        "part_modulation": own,
        "time_frequencies": time.take("frequency_embedding_size", 256),
        "longest_time": time.take("max_timestep", 1000.0),
        "feature_layers": list(layers),
    }
    trunk.done()
    time.drop("dim")
    time.done()
    return out


def _vae(config: Mapping[str, Any], channels: int) -> tuple[dict[str, Any], float, bool]:
    c = Fields(config["vae"], "flextok: vae")
    c.drop(
        *_HYDRA, "images_read_key", "vae_latents_read_key", "vae_latents_write_key", "images_reconst_write_key",
        "vae_kl_loss_write_key", "dtype_override", "hf_hub_path", "learnable_logvar", "logvar_init", "compile_encode_fn",
        "force_vae_encode", "frozen",
    )  # fmt: skip
    latent, scale, sample = c.take("latent_channels", 16), c.take("scaling_factor", None), c.take("sample_posterior", True)
    c.done()
    if latent != channels:
        raise ValueError(f"flextok: the VAE has {latent} channels, the encoder takes {channels}.")
    if scale is None and "scaling_factor" not in config.get("vae_config", {}):
        raise ValueError("flextok: vae.scaling_factor is not given; take it from the VAE's own config: ids depend on it.")
    published = {
        "block_out_channels": [128, 256, 512, 512],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "layers_per_block": 2,
    }
    vae = {**published, "latent_channels": latent, **config.get("vae_config", {})}
    return vae, scale if scale is not None else vae["scaling_factor"], sample


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "flextok")
    for name in ("vae", "encoder", "decoder", "pipeline"):
        c.take(name)
    c.drop("vae_config", *_HYDRA)
    encoder = _encoder(config)
    sizes = encoder.pop("_sizes")
    patch, channels = _patches(_only(_steps(config, "encoder"), "PatchEmbedder")[1])
    vae, scale, sample = _vae(config, channels)
    stride = patch * 2 ** (len(vae["block_out_channels"]) - 1)
    fsq = part(c, "regularizer")
    fsq.drop(*_HYDRA, "latents_read_key", "quants_write_key", "tokens_write_key", "packed_call")
    for key in ("drop_quant_p", "corrupt_tokens_p"):
        training_only(fsq, key, 0.0)
    fsq.drop("min_corrupt_tokens_p", "apply_corrupt_tokens_p")
    quantizer = {"kind": "fsq", "levels": list(fsq.take("levels"))}
    fsq.done()
    noise = part(c, "flow_matching_noise_module")
    time = {
        "time_sampling": "logit_normal" if noise.take("ln", True) else "uniform",
        "time_stratified": noise.take("stratisfied", False),
        "time_mode_scale": noise.take("mode_scale", 0.0),
    }
    c.done()
    return {
        "image_size": [n * stride for n in sizes or (256 // stride,) * 2],
        "vae": vae,
        "vae_scale": scale,
        "sample_posterior": sample,
        "quantizer": quantizer,
        **encoder,
        **_decoder(config),
        **time,
    }


LAYOUTS = (
    Layout(
        system="flextok",
        upstream="apple/ml-flextok flextok/flextok_wrapper.py FlexTokFromHub",
        family="flextok",
        config=_config,
        keys=flextok_keys,
    ),
)
