"""TiTok, TA-TiTok (bytedance/1d-tokenizer) and One-D-Piece (turingmotors/One-D-Piece): nested config, one key layout."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .base import Converter, rename
from .fields import Fields
from .llamagen import maskgit_stacks, maskgit_weights
from .vit import BLOCK_KEYS, under

#: Widths, layers and heads of the size names.
_SIZES = {"small": (512, 8, 8), "base": (768, 12, 12), "large": (1024, 24, 16)}

def _size(name: str, config: Mapping[str, Any]) -> dict[str, int]:
    sizes = {**_SIZES, **{k: (v["width"], v["num_layers"], v["num_heads"]) for k, v in config.get("model_sizes", {}).items()}}
    if name not in sizes:
        raise ValueError(f"vit model size {name!r} is unknown; known: {', '.join(sizes)}.")
    return dict(zip(("width", "layers", "heads"), sizes[name], strict=True))


def _config(config: Mapping[str, Any], system: str) -> dict[str, Any]:
    c = Fields(config["model"]["vq_model"], f"{system}: model.vq_model")
    c.require("quantize_mode", "vq")  # "vae" is continuous: it has no ids
    c.drop("pretrained_tokenizer_weight")  # file of the teacher in training
    legacy, second_stage = c.take("is_legacy", True), c.take("finetune_decoder", True)
    if second_stage and not legacy:
        raise ValueError(f"{system}: finetune_decoder needs is_legacy; the later decoders give pixels, not codes of a VQGAN.")
    unit, clustering = c.take("use_l2_norm"), c.take("clustering_vq", False)
    strict = c.take("strict_length_assertion", True)
    out: dict[str, Any] = {
        "image_size": config["dataset"]["preprocessing"]["crop_size"],
        "encoder_patch_size": c.take("vit_enc_patch_size"),
        "decoder_patch_size": c.take("vit_dec_patch_size"),
        "encoder": _size(c.take("vit_enc_model_size"), config),
        "decoder": _size(c.take("vit_dec_model_size"), config),
        "num_latents": c.take("num_latent_tokens"),
        "latent_dim": c.take("token_size"),
        "quantizer": {
            "kind": "vq",
            "codebook_size": c.take("codebook_size"),
            "normalize": unit,
            "returns": "normalized" if unit else "raw",
            "commitment_weight": c.take("commitment_cost"),
            "update": "gradient",
            "kmeans_init": False,
            "replace_below": 0.1 if clustering else 0.0,
        },
        "latent_layout": "reshaped" if legacy else "transposed",
        "output": "codes" if legacy else "pixels",
        "prefix": system == "one-d-piece" and not strict,
    }
    length, dim = c.take("text_context_length", 77), c.take("text_embed_dim", 768)
    if system == "tatitok":
        out["text"] = {"length": length, "dim": dim}
    codes = c.take("pixel_codebook_size", 1024)
    if legacy:
        out["teacher_codes"] = codes
        if second_stage:
            out["teacher"] = _teacher(config, codes)
    c.done()
    return out


def _teacher(config: Mapping[str, Any], codes: int) -> dict[str, Any]:
    """The MaskGIT-VQGAN's decoder: the one published, unless the folder describes another under `pixel_decoder`."""
    c = Fields(config.get("pixel_decoder", {}), "pixel_decoder")
    stacks = maskgit_stacks(c)
    dim = c.take("embedding_dim", stacks["z_channels"])
    if dim != stacks["z_channels"] or c.take("num_embeddings", codes) != codes:
        raise ValueError(f"pixel_decoder: codes of width {dim} do not fit z_channels {stacks['z_channels']} or {codes} codes.")
    c.done()
    return {"decoder": stacks["decoder"], "latent_dim": dim}


_TABLE = [
    (r"latent_tokens", "encoder.latents"),
    *under(r"(encoder|decoder)\.transformer\.(\d+)\.", r"\1.blocks.\2.", BLOCK_KEYS),
    (r"encoder\.patch_embed\.(weight|bias)", r"encoder.patch_embed.\1"),
    (r"(encoder|decoder)\.class_embedding", r"\1.class_token"),
    (r"(encoder|decoder)\.positional_embedding", r"\1.positions"),
    (r"(encoder|decoder)\.latent_token_positional_embedding", r"\1.latent_positions"),
    (r"(encoder|decoder)\.ln_pre\.(weight|bias)", r"\1.norm_in.\2"),
    (r"(encoder|decoder)\.ln_post\.(weight|bias)", r"\1.norm_out.\2"),
    (r"encoder\.conv_out\.(weight|bias)", r"to_latent.\1"),
    (r"quantize\.embedding\.weight", "quantizer.codebook.embed"),
    (r"decoder\.decoder_embed\.(weight|bias)", r"from_latent.\1"),
    (r"decoder\.mask_token", "decoder.mask_token"),
    (r"decoder\.text_guidance_proj\.(weight|bias)", r"text.proj.\1"),
    (r"decoder\.text_guidance_positional_embedding", "text.positions"),
]
_PIXELS = [
    (r"decoder\.ffn\.0\.(weight|bias)", r"head.patches.proj.\1"),
    (r"decoder\.conv_out\.(weight|bias)", r"head.smooth.\1"),
]
_CODES = [
    (r"decoder\.ffn\.(0|2)\.(weight|bias)", r"head.to_logits.\1.\2"),
    (r"pixel_quantize\.embedding\.weight", "head.codebook"),
]
_DROPPED = [
    r"quantize\.embed_prob",  # running usage of the codes in the authors' clustering update
]


def _weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    legacy = config["model"]["vq_model"].get("is_legacy", True)
    teacher = {k.removeprefix("pixel_"): v for k, v in state.items() if k.startswith("pixel_decoder.")}
    rest = {k: v for k, v in state.items() if not k.startswith("pixel_decoder.")}
    out = rename(rest, _TABLE + (_CODES if legacy else _PIXELS), dropped=_DROPPED)
    out |= {f"head.pixel_{k}": v for k, v in maskgit_weights(teacher).items()}
    out["to_latent.weight"] = out["to_latent.weight"].flatten(1)  # a 1x1 convolution
    out["decoder.mask_token"] = out["decoder.mask_token"][0]
    return out


CONVERTERS = tuple(
    Converter(
        system=system,
        upstream=upstream,
        family="titok",
        config=lambda config, system=system: _config(config, system),
        weights=_weights,
    )
    for system, upstream in (
        ("titok", "bytedance/1d-tokenizer TiTok"),
        ("titok-legacy", "bytedance/1d-tokenizer TiTok"),
        ("tatitok", "bytedance/1d-tokenizer TATiTok"),
        ("one-d-piece", "turingmotors/One-D-Piece OneDPiece"),
    )
)
