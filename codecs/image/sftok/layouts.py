"""SFTok (Neur-IO/SFTok @ 0e98df00dc): the YAML or `config.json` of a training run, TiTok's keys with a decoder of several steps."""

from collections.abc import Mapping
from typing import Any

from ...layouts.configs import part
from ...layouts.fields import Fields
from ...layouts.keymap import KeyMap, Rename, Row, matches, pointwise, under, without_ones
from ...layouts.layout import Layout
from ...layouts.maskgit_keys import maskgit_rows, maskgit_stacks
from ...layouts.vit_keys import BLOCK
from .model import SFTokConfig

_SYSTEM = "sftok"
_SIZES = {"small": (512, 8, 8), "base": (768, 12, 12), "large": (1024, 24, 16)}


def _size(name: str, more: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    sizes = {**_SIZES, **{k: (v["width"], v["num_layers"], v["num_heads"]) for k, v in more.items()}}
    if name not in sizes:
        raise ValueError(f"{_SYSTEM}: the size {name!r} is unknown; known: {', '.join(sizes)}.")
    return dict(zip(("width", "layers", "heads"), sizes[name], strict=True))


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The authors' YAML; of it the parts `vq_model`, `decoder` and `generator` of `model`, and the size of the crops, are read.

    Numbers that are fixed in the authors' code may stand under `shrunk`: `codes`, `grid`, `z`, `channel_mult`, `model_sizes`.
    """
    if "model" not in config and isinstance(config.get("config"), Mapping):
        config = {**config, **config["config"]}  # as the hub's mixin saves the arguments of a class
    model = part(Fields(config, _SYSTEM), "model")
    c, d = part(model, "vq_model"), part(model, "decoder")
    fixed = part(Fields(config, _SYSTEM), "shrunk", {})
    sizes = fixed.take("model_sizes", {})
    c.require("quantize_mode", "vq")  # "vae" is continuous: it has no ids
    c.require("num_group", 1)
    c.drop("pretrained_tokenizer_weight", "semantic_guide", "sem_loss_weight")  # for training
    d.require("is_legacy", True)
    d.drop("embedding_width", "embedding_init", "replace_prob", "finetune_decoder", "semantic_guide")  # not read, or for training
    d.drop("randomize_temperature", "guidance_scale", "guidance_decay")  # `generator` has those that are read
    codes, places = d.take("codebook_size"), d.take("num_proxy_codes")
    for key in ("num_latent_tokens", "token_size"):
        if d.take(key) != c.take(key):
            raise ValueError(f"{_SYSTEM}: {key} of vq_model and of decoder must be equal.")
    size = part(part(Fields(config, _SYSTEM), "dataset"), "preprocessing").take("crop_size")
    patch = d.take("vit_dec_patch_size")
    if places != (size // patch) ** 2 or codes != fixed.take("codes", 1024):
        raise ValueError(f"{_SYSTEM}: {places} codes of {codes} kinds do not fit pictures of {size} pixels in patches of {patch}.")
    vq = config["model"]["vq_model"]
    out = {
        "image_size": size,
        "encoder_patch_size": c.take("vit_enc_patch_size"),
        "decoder_patch_size": patch,
        "encoder": _size(c.take("vit_enc_model_size"), sizes),
        "decoder": _size(d.take("vit_dec_model_size"), sizes),
        "num_latents": vq["num_latent_tokens"],
        "latent_dim": vq["token_size"],
        "quantizer": {
            "kind": "optvq",
            "codebook_size": c.take("codebook_size"),
            "normalize": c.take("use_l2_norm"),
            "commitment_weight": float(c.take("commitment_cost")),
            "training_plan": "batch",
        },
        "teacher_codes": codes,
        **_generator(part(model, "generator", {})),
    }
    if c.take("finetune_decoder", True):
        mult = fixed.take("channel_mult", [1, 1, 2, 2, 4])
        head = part(Fields(config, _SYSTEM), "pixel_decoder", {})
        widths = {"hidden_channels": head.take("width", 128 * mult[0]) // mult[0], "num_res_blocks": head.take("num_res_blocks", 2)}
        stacks = maskgit_stacks(Fields({"channel_mult": mult, **widths}, f"{_SYSTEM}.pixel_decoder"))
        out["teacher"] = {"decoder": stacks["decoder"], "latent_dim": fixed.take("z", 256)}
    fixed.drop("grid", "z", "channel_mult")
    for fields in (c, d, fixed):
        fields.done()
    return out


def _settings(state: Mapping[str, Any]) -> dict[str, Any]:
    """Width of the finest level and number of blocks of the pixel decoder, which are fixed in the authors' code, from the weights."""
    head = state.get("pixel_decoder.conv_out.weight")
    if head is None or head.ndim != 4:
        return {}
    blocks = sum(matches(k, ("pixel_decoder.up.0.block.{}.conv1.weight",)) for k in state)
    return {"pixel_decoder": {"width": int(head.shape[1]), "num_res_blocks": blocks}}


def _generator(c: Fields) -> dict[str, Any]:
    """Settings of the steps. Guidance is without effect in the authors' code: both of its passes are equal."""
    out = {
        "steps": c.take("num_steps", 8),
        "temperature": float(c.take("randomize_temperature", 2.0)),
        "soften": c.take("softmax_temperature_annealing", False),
    }
    c.drop("guidance_scale", "guidance_decay", "guidance_scale_pow", "class_label_dropout")
    c.done(swallowed=True)
    return out


_SIDE = "{encoder|decoder}"
_ROWS: tuple[Row, ...] = (
    ("latent_tokens", "encoder.latents"),
    *under(_SIDE + ".transformer.{}.", _SIDE + ".blocks.{}.", BLOCK),
    ("encoder.patch_embed.*", "encoder.patch_embed.*"),
    (_SIDE + ".class_embedding", _SIDE + ".class_token"),
    ("encoder.positional_embedding", "encoder.positions"),
    ("encoder.latent_token_positional_embedding", "encoder.latent_positions"),
    (_SIDE + ".ln_pre.*", _SIDE + ".norm_in.*"),
    (_SIDE + ".ln_post.*", _SIDE + ".norm_out.*"),
    ("encoder.conv_out.*", "to_latent.*"),
    ("quantize.embedding", "quantizer.table"),
    ("quantize.shared_linear.*", "quantizer.transform.*"),
    ("decoder.decoder_embed.*", "from_latent.*"),
    ("decoder.learnable_embedding.weight", "decoder.codes"),
    ("decoder.[learnable_embedding_positional_embedding|embedding_positional_embedding]", "decoder.positions"),
    ("decoder.condition_positional_embedding", "decoder.latent_positions"),
    ("decoder.ffn.{0|2}.*", "head.to_logits.{0|2}.*"),
    ("pixel_quantize.embedding.weight", "head.codebook"),
    *maskgit_rows("pixel_", "head.pixel_"),
)


def _keys(own: SFTokConfig) -> KeyMap:
    # a frozen teacher and a head of the training, and the offset of the only group
    dropped = ("quantize.index_offset", "semantic_model.**", "sem_{norm|linear}.**", "sem_scale")
    steps = (Rename(_ROWS, also_drop=dropped), pointwise("to_latent.weight", axes=2), without_ones("quantizer.table"))
    return KeyMap(*steps)


LAYOUTS = (
    Layout(
        system=_SYSTEM,
        upstream="Neur-IO/SFTok modeling/sftok.py SFTok",
        family="sftok",
        config=_config,
        keys=_keys,
        settings=_settings,
    ),
)
