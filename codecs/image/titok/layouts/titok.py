"""TiTok (bytedance/1d-tokenizer), both published generations; `tatitok.py` and `one_d_piece.py` use the same config and keys."""

from collections.abc import Mapping
from typing import Any

from ....layouts.configs import part
from ....layouts.fields import Fields
from ....layouts.keymap import KeyMap, Rename, Row, pointwise, under, without_ones
from ....layouts.layout import Layout
from ....layouts.maskgit_keys import maskgit_rows, maskgit_stacks
from ....layouts.vit_keys import BLOCK
from ..model import TiTokConfig

#: Widths, layers and heads of the size names.
_SIZES = {"small": (512, 8, 8), "base": (768, 12, 12), "large": (1024, 24, 16)}


def titok_config(config: Mapping[str, Any], system: str) -> dict[str, Any]:
    """The YAML or JSON of the authors' training runs; only the tokenizer's part of it is read, as by the authors' class."""
    top = Fields(config, system)
    c = part(part(top, "model"), "vq_model")
    image_size = part(part(top, "dataset"), "preprocessing").take("crop_size")
    c.require("quantize_mode", "vq")  # "vae" is continuous: it has no ids
    c.drop("pretrained_tokenizer_weight")  # path of the teacher's file, for training
    legacy, second_stage = c.take("is_legacy", True), c.take("finetune_decoder", True)
    if second_stage and not legacy:
        raise ValueError(f"{system}: finetune_decoder needs is_legacy; the later decoders predict pixels, not codes of a VQGAN.")
    unit, clustering = c.take("use_l2_norm"), c.take("clustering_vq", False)
    strict = c.take("strict_length_assertion", True)
    out: dict[str, Any] = {
        "image_size": image_size,
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


def _size(name: str, config: Mapping[str, Any]) -> dict[str, int]:
    sizes = {**_SIZES, **{k: (v["width"], v["num_layers"], v["num_heads"]) for k, v in config.get("model_sizes", {}).items()}}
    if name not in sizes:
        raise ValueError(f"vit model size {name!r} is unknown; known: {', '.join(sizes)}.")
    return dict(zip(("width", "layers", "heads"), sizes[name], strict=True))


def _teacher(config: Mapping[str, Any], codes: int) -> dict[str, Any]:
    """The MaskGIT-VQGAN's decoder: the published one, unless the config has another under `pixel_decoder`."""
    c = Fields(config.get("pixel_decoder", {}), "pixel_decoder")
    stacks = maskgit_stacks(c)
    dim = c.take("embedding_dim", stacks["z_channels"])
    if dim != stacks["z_channels"] or c.take("num_embeddings", codes) != codes:
        raise ValueError(f"pixel_decoder: codes of width {dim} do not fit z_channels {stacks['z_channels']} or {codes} codes.")
    c.done()
    return {"decoder": stacks["decoder"], "latent_dim": dim}


_SIDE = "{encoder|decoder}"
_ROWS: tuple[Row, ...] = (
    ("latent_tokens", "encoder.latents"),
    *under(_SIDE + ".transformer.{}.", _SIDE + ".blocks.{}.", BLOCK),
    ("encoder.patch_embed.*", "encoder.patch_embed.*"),
    (_SIDE + ".class_embedding", _SIDE + ".class_token"),
    (_SIDE + ".positional_embedding", _SIDE + ".positions"),
    (_SIDE + ".latent_token_positional_embedding", _SIDE + ".latent_positions"),
    (_SIDE + ".ln_pre.*", _SIDE + ".norm_in.*"),
    (_SIDE + ".ln_post.*", _SIDE + ".norm_out.*"),
    ("encoder.conv_out.*", "to_latent.*"),
    ("quantize.embedding.weight", "quantizer.codebook.embed"),
    ("quantize.embed_prob", None),  # running usage of the codes in the authors' clustering update
    ("decoder.decoder_embed.*", "from_latent.*"),
    ("decoder.mask_token", "decoder.mask_token"),
    ("decoder.text_guidance_proj.*", "text.proj.*"),
    ("decoder.text_guidance_positional_embedding", "text.positions"),
)
_PIXELS: tuple[Row, ...] = (
    ("decoder.ffn.0.*", "head.patches.proj.*"),
    ("decoder.conv_out.*", "head.smooth.*"),
)
_CODES: tuple[Row, ...] = (
    ("decoder.ffn.{0|2}.*", "head.to_logits.{0|2}.*"),
    ("pixel_quantize.embedding.weight", "head.codebook"),
    *maskgit_rows("pixel_", "head.pixel_"),
)


def titok_keys(own: TiTokConfig) -> KeyMap:
    """The map of a flat state dict, whose weights are already averaged."""
    rows = [*_ROWS, *(_CODES if own.output == "codes" else _PIXELS)]
    return KeyMap(Rename(rows), pointwise("to_latent.weight", axes=2), without_ones("decoder.mask_token"))


def titok_layout(system: str, upstream: str) -> Layout:
    """A layout with the config and keys of TiTok, under the name of a `system`."""
    return Layout(
        system=system, upstream=upstream, family="titok", config=lambda config: titok_config(config, system), keys=titok_keys
    )


#: "titok-legacy" is the same class: `is_legacy` in the config decides.
LAYOUTS = tuple(titok_layout(system, "bytedance/1d-tokenizer modeling/titok.py TiTok") for system in ("titok", "titok-legacy"))
