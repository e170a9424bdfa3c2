"""4M's VQ-VAE and DiVAE (apple/ml-4m @ cda590faa3, fourm/vq/vqvae.py `VQVAE`, `DiVAE`).

One class of the authors' takes pictures, maps of depth, of classes or of features, and vectors; here pictures have separate families.
The kind of input follows from the config: a transformer over patches of 3 channels, or of 1, without labels, takes pictures, and
all else maps. One channel may also be depth, which the authors' configs don't state: set `"input": "map"`, a key of ours.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ...config import from_mapping
from ...layouts.configs import open_config, training_only
from ...layouts.fields import Fields
from ...layouts.layout import Layout
from .divae import FourMDiVAEConfig
from .fourm_keys import divae_keys, vqvae_keys
from .maps import FourMDiVAEMapsConfig, FourMMapsConfig
from .model import FourMConfig

#: Sizes of the names `vit_<size>_enc` and `vit_<size>_dec`.
_SIZES = {
    "s": {"dim_tokens": 512, "depth": 8, "num_heads": 8},
    "b": {"dim_tokens": 768, "depth": 12, "num_heads": 12},
    "l": {"dim_tokens": 1024, "depth": 24, "num_heads": 16},
}

_TOWERS = {"BottleneckMLP": True, "MLP": False}


def _half(c: Fields, side: str, name: str, more: Mapping[str, Any]) -> dict[str, Any]:
    """The transformer or the tower of MLPs that `enc_type` or `dec_type` names."""
    kind, _, architecture = name.partition("/")
    if kind in _TOWERS:
        return {f"{side}_tower": _tower(c, name, architecture.split("-"), residual=_TOWERS[kind])}
    sizes, ending = _SIZES | dict(more), f"_{side[:3]}"
    short = name.removeprefix("vit_").removesuffix(ending)
    if short not in sizes or name != f"vit_{short}{ending}":
        allowed = ", ".join(f"vit_{s}{ending}" for s in sizes)
        raise ValueError(f"{c.name}.{side[:3]}_type is {name!r}; supported: {allowed}, 'BottleneckMLP/B_6-Wi_1024' and the like.")
    s = sizes[short]
    return {side: {"width": s["dim_tokens"], "layers": s["depth"], "heads": s["num_heads"]}}


def _tower(c: Fields, name: str, parts: list[str], *, residual: bool) -> dict[str, Any]:
    """`B_<blocks>-Wi_<width>[-E_<expansion>]`; the authors' class ignores the letters and goes by the order."""
    numbers = [part.partition("_")[2] for part in parts]
    if len(parts) not in (2, 3) or not all(n.isdigit() for n in numbers):
        raise ValueError(f"{c.name}: {name!r} is no tower; write 'BottleneckMLP/B_<blocks>-Wi_<width>-E_<expansion>'.")
    expansion = int(numbers[2]) if len(parts) == 3 else 4
    return {"blocks": int(numbers[0]), "width": int(numbers[1]), "expansion": expansion, "residual": residual}


def _quantizer(c: Fields) -> dict[str, Any]:
    kind, books = c.take("quant_type", "lucid"), c.take("num_codebooks", 1)
    size, decay, weight = int(c.take("codebook_size", 16384)), c.take("ema_decay", 0.99), c.take("commitment_weight", 1.0)
    unit, kmeans, dead = c.take("norm_codes", True), c.take("kmeans_init", False), c.take("threshold_ema_dead_code", 0.25)
    c.drop("sync_codebook", "code_replacement_policy")  # training on several GPUs; which rows replace dead codes
    if kind == "memcodes":
        c.drop("norm_latents")
        return {"kind": "memcodes", "codebooks": books, "codebook_size": size}
    if kind != "lucid" or books != 1:  # the authors' class cannot decode the ids of several tables
        raise ValueError(f"{c.name}: quant_type {kind!r} with num_codebooks {books}; supported: 'lucid' with 1, 'memcodes' with any.")
    if not unit:
        c.require("norm_latents", False)  # another value would change ids
    training_only(c, "norm_latents", False)
    return {
        "kind": "vq",
        "codebook_size": size,
        "normalize": unit,
        "decay": decay,
        "commitment_weight": float(weight),
        "kmeans_init": kmeans,
        # the authors give a number of rows, this library a share of the uniform number: only on or off carries over
        "replace_below": 0.1 if dead else 0.0,
    }


class _Common(NamedTuple):
    """Settings that `VQ`, the base class of both, reads."""

    encoder: dict[str, Any]  #: as config fields
    sizes: Mapping[str, Any]  #: of further transformers
    image: int
    patch: int
    patches: bool  #: `patch_proj`: whether transformers make patches of pixels
    picture: bool  #: see the head of this file
    labels: int | None


def _common(c: Fields) -> _Common:
    c.drop("ckpt_path", "ignore_keys", "freeze_enc")
    image, channels, labels = c.take("image_size", 224), c.take("n_channels", 3), c.take("n_labels", None)
    sizes, patch, patches = c.take("model_sizes", {}), c.take("patch_size", 16), c.take("patch_proj", True)
    if not isinstance(patch, int) or not isinstance(image, int):
        raise ValueError(f"{c.name}: patch_size {patch} and image_size {image} must each be one number.")
    half = _half(c, "encoder", c.take("enc_type", "vit_b_enc"), sizes)
    encoder = {
        "channels": channels,
        "patch_size": patch if patches and "encoder" in half else 1,
        "encoder_grid": (c.take("image_size_enc", None) or image) // patch,
        **half,
        "tanh_mlp": c.take("post_mlp", False),
        "latent_dim": c.take("latent_dim", 32),
        "quantizer": _quantizer(c),
    }
    # undo_std maps colours to -1..1, the range of pictures here
    standardised, given = c.take("undo_std", False), c.take("input", None)
    if given not in (None, "picture", "map"):
        raise ValueError(f"{c.name}.input is {given!r}; allowed: 'picture', 'map'.")
    if standardised and channels != 3:
        raise ValueError(f"{c.name}: undo_std is about colours, and n_channels is {channels}.")
    picture = channels in (1, 3) and patches and "encoder" in half and labels is None and given != "map"
    return _Common(encoder, sizes, image, patch, patches, picture, labels)


def _config(config: Mapping[str, Any]) -> FourMConfig:
    c = open_config(config, "4m-vqvae")
    v = _common(c)
    half = _half(c, "decoder", c.take("dec_type", "vit_b_dec"), v.sizes)
    patch = c.take("patch_size_dec", None) or v.patch
    if (patch if v.patches and "decoder" in half else 1) != v.encoder["patch_size"]:
        raise ValueError("4m-vqvae: the decoder gives maps of another size than the encoder takes; see patch_size_dec and dec_type.")
    out = {
        **v.encoder,
        "decoder_grid": (c.take("image_size_dec", None) or v.image) // patch,
        **half,
        "refine": c.take("out_conv", False),
    }
    c.done(swallowed=True)
    if v.picture:
        return from_mapping(FourMConfig, out, path="config")
    return from_mapping(FourMMapsConfig, out | {"classes": v.labels or 0}, path="config")


# --- DiVAE ------------------------------------------------------------------------------------------------------------

#: Arguments of `unet_patched`, the only U-Net of the repository.
_UNET_PATCHED = {
    "patch_size": 4,
    "model_channels": 256,
    "num_res_blocks": 3,
    "attention_resolutions": [4, 8],
    "channel_mult": [1, 2, 2, 2],
}


def _unet(u: Fields) -> dict[str, Any]:
    """Arguments of `PatchedUNetCondCat`; the number of pixels on a side of its patch too."""
    u.drop("use_checkpoint", "image_size")
    u.require("dims", 2)
    u.require("num_classes", None)
    u.require("use_new_attention_order", False)
    heads, head_width, up_heads = u.take("num_heads", 1), u.take("num_head_channels", -1), u.take("num_heads_upsample", -1)
    return {
        "unet_patch": u.take("patch_size"),
        "unet": {
            "width": u.take("model_channels", 256),
            "blocks": u.take("num_res_blocks", 3),
            "multipliers": [float(m) for m in u.take("channel_mult", (1, 2, 4, 8))],
            "attention_strides": list(u.take("attention_resolutions", (8, 16))),
            "heads": heads,
            "head_width": max(head_width, 0),
            "up_heads": max(up_heads, 0),
            "scale_shift": u.take("use_scale_shift_norm", False),
            "resample_blocks": u.take("resblock_updown", False),
            "resample_convs": u.take("conv_resample", True),
            "dropout": float(u.take("dropout", 0.0)),
        },
    }


#: The middle of the sizes of `uvit_<size>_p4_<kind>`.
_MIDDLES = {
    "b": {"mid_dim": 768, "mid_layers": 12, "mid_num_heads": 12},
    "l": {"mid_dim": 1024, "mid_layers": 24, "mid_num_heads": 16},
    "h": {"mid_dim": 1280, "mid_layers": 32, "mid_num_heads": 16},
}

#: Settings that the kinds change. (The authors' repository has `h` of the first kind only, and no long skips in `h`.)
_KINDS: dict[str, dict[str, Any]] = {
    "f16": {"downsample_before_mid": True},
    "f16_longskip": {"downsample_before_mid": True, "mid_use_long_skip": True},
    "f8": {},
    "f16_extraconv": {"block_out_channels": [128, 256, 512]},
}


def _named_uvit(c: Fields, name: str) -> dict[str, Any]:
    """The `UViT` arguments that the name `uvit_<size>_p4_<kind>` stands for."""
    size, _, kind = name.removeprefix("uvit_").partition("_p4_")
    if size not in _MIDDLES or kind not in _KINDS or (size == "h" and kind != "f16"):
        allowed = ", ".join(f"uvit_b_p4_{k}" for k in _KINDS)
        raise ValueError(f"{c.name}.dec_type is {name!r}; supported: {allowed}, the same with l, uvit_h_p4_f16.")
    out = {"block_out_channels": [128, 256], **_MIDDLES[size], **_KINDS[kind]}
    out["mid_layers"] += out.get("mid_use_long_skip", False)
    return out


def _uvit(u: Fields, condition: str, dropout: float) -> dict[str, Any]:
    """Arguments of `UViT`, of which its named kinds set the first ones."""
    u.drop("sample_size")
    for key, value in (("act_fn", "silu"), ("downsample_padding", 1), ("norm_eps", 1e-5), ("resnet_time_scale_shift", "default")):
        u.require(key, value)
    for key, value in (("time_embedding_type", "positional"), ("flip_sin_to_cos", True), ("freq_shift", 0), ("res_embedding", False)):
        u.require(key, value)
    return {
        "unet_patch": u.take("patch_size", 4),
        "uvit": {
            "channels": u.take("block_out_channels", [128, 256, 512]),
            "blocks": u.take("layers_per_block", 2),
            "halve_before_middle": u.take("downsample_before_mid", False),
            "width": u.take("mid_dim", 768),
            "layers": u.take("mid_layers", 12),
            "heads": u.take("mid_num_heads", 12),
            "mlp_ratio": float(u.take("mid_mlp_ratio", 4)),
            "qkv_bias": u.take("mid_qkv_bias", True),
            "long_skips": u.take("mid_use_long_skip", False),
            "position_grid": u.take("mid_hw_posemb", 32),
            "groups": u.take("norm_num_groups", 32),
            "condition": condition,
            "dropout": dropout,
        },
    }


def _diffusion_decoder(c: Fields) -> dict[str, Any]:
    """The network named by `dec_type`; for other sizes its arguments are under `unet` or `uvit`, keys of ours."""
    name, condition = c.take("dec_type", "unet_patched"), c.take("conditioning", "concat")
    kind, dropout = name.partition("_")[0], c.take("dec_transformer_dropout", 0.2)
    if kind not in ("unet", "uvit"):
        raise ValueError(f"{c.name}.dec_type is {name!r}; a DiVAE's begins with 'unet_' or 'uvit_'.")
    given = {k: c.take(k, None) for k in ("unet", "uvit")}[kind]
    if kind == "unet":
        if given is None and name != "unet_patched":
            raise ValueError(f"{c.name}.dec_type is {name!r}; supported: 'unet_patched', or others with their arguments in 'unet'.")
        u = Fields(_UNET_PATCHED if given is None else given, f"{c.name}.unet")
        out = _unet(u)  # the U-Net does not read `conditioning`
    else:
        if condition not in ("concat", "xattn"):
            raise ValueError(f"{c.name}.conditioning is {condition!r}; of a UViT it is 'concat' or 'xattn'.")
        u = Fields(_named_uvit(c, name) if given is None else given, f"{c.name}.uvit")
        out = _uvit(u, {"concat": "add", "xattn": "cross"}[condition], float(dropout))
    u.done()
    return out


_BETAS = {"linear": "linear", "scaled_linear": "scaled_linear", "squaredcos_cap_v2": "cosine", "sigmoid": "sigmoid"}

_PREDICTIONS = {"sample": "sample", "epsilon": "epsilon", "v_prediction": "velocity"}


def _schedule(c: Fields) -> dict[str, Any]:
    betas = c.take("beta_schedule", "squaredcos_cap_v2")
    kind, _, shift = betas.partition(":")
    if kind not in _BETAS and not (kind == "shifted_cosine" and shift):
        raise ValueError(f"{c.name}.beta_schedule is {betas!r}; supported: {', '.join(_BETAS)}, 'shifted_cosine:SHIFT'.")
    # The authors' dynamic thresholding has both limits at 1, so it clips as well.
    clip = [c.take("clip_sample", False), c.take("thresholding", True)]
    return {
        "times": c.take("num_train_timesteps", 1000),
        "betas": _BETAS.get(kind, kind),
        "shift": float(shift or 1.0),
        "zero_terminal_snr": c.take("zero_terminal_snr", True),
        "prediction": c.one_of("prediction_type", _PREDICTIONS, "v_prediction"),
        "clip": any(clip),
        # the authors' class reads every name but 'ddpm' as DDIM
        "sampler": "ddpm" if c.take("scheduler", "ddpm") == "ddpm" else "ddim",
    }


def _divae_config(config: Mapping[str, Any]) -> FourMDiVAEConfig:
    c = open_config(config, "4m-divae")
    c.drop("masked_cfg", "masked_cfg_low", "masked_cfg_high")
    c.drop("image_size_dec", "patch_size_dec")  # the diffusion decoder takes any size
    training_only(c, "cls_free_guidance_dropout", 0.0)
    v = _common(c)
    if v.labels is not None:
        raise ValueError(f"4m-divae.n_labels is {v.labels}; only null is supported: noise has no classes.")
    out = {**v.encoder, "schedule": _schedule(c), **_diffusion_decoder(c)}
    c.done(swallowed=True)
    return from_mapping(FourMDiVAEConfig if v.picture else FourMDiVAEMapsConfig, out, path="config")


LAYOUTS = (
    Layout(
        system="4m-divae",
        upstream="apple/ml-4m fourm/vq/vqvae.py DiVAE",
        family="fourm_divae",
        more_families=("fourm_divae_maps",),
        config=_divae_config,
        keys=divae_keys,
    ),
    Layout(
        system="4m-vqvae",
        upstream="apple/ml-4m fourm/vq/vqvae.py VQVAE",
        family="fourm",
        more_families=("fourm_maps",),
        config=_config,
        keys=vqvae_keys,
    ),
)
