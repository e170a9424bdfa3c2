"""DetailFlow (ByteFlow-AI/DetailFlow @ c5f06cdc99): `config.json` (the fields of `ModelArgs`), `config.yaml`, a trainer's checkpoint.

Sizes of the pretrained SigLIP 2 (so400m, any sizes) and of its shortened copies are fixed in the authors' code; a config may have
others under `shrunk`: `siglip2` with transformers' names, and `base` for the decoder's. As by the authors' scripts, the weights under
`model` are taken, not their averages.
"""

from collections.abc import Mapping
from typing import Any

from ...layouts.configs import open_config
from ...layouts.fields import Fields
from ...layouts.keymap import Each, Fuse, KeyMap, Rename, Row, Unwrap, under, without_ones
from ...layouts.layout import Layout
from ...layouts.vit_keys import SIGLIP_BLOCK
from .model import DetailFlowConfig

_SYSTEM = "detailflow"
_SIGLIP = {"hidden_size": 1152, "intermediate_size": 4304, "num_attention_heads": 16, "num_hidden_layers": 27, "num_patches": 256}
_BASE = {"embed_dim": 768, "num_heads": 12, "layer_num": 12}

#: Keys of both files that matter in training only, or that the class does not read.
_IGNORED = (
    "max_image_size codebook_show_usage commit_loss_beta entropy_loss_ratio vq_loss_ratio kl_loss_weight tau num_codebooks "
    "encoder_ch_mult decoder_ch_mult z_channels dropout_p enc_tuning_method dec_tuning_method enc_drop_path_rate dec_drop_path_rate "
    "repa repa_patch_size repa_model repa_proj_dim repa_layer_indices repa_loss_weight repa_align vq_mean vq_std "
    "gradient_checkpointing_encoder gradient_checkpointing_decoder global_token_loss_weight correction_training "
    "results_dir cloud_save_path compile global_seed log_every vis_every save_epochs mixed_precision no_local_save dataset data_path "
    "degradation_prob dynamic_resolution_prob min_image_size vq_model ema reconstruction_weight perceptual_weight perceptual_warmup "
    "disc_weight use_diff_aug disc_cr_loss_weight disc_start disc_type disc_loss gen_loss lecam_loss_weight encoder_pretrained "
    "encoder_patch_size encoder_tuning_method decoder_pretrained decoder_patch_size decoder_tuning_method epochs lr optimizer "
    "lr_scheduler weight_decay beta1 beta2 max_grad_norm global_batch_size"
).split()


def _transformer(c: Fields, side: str, fixed: Mapping[str, Any]) -> dict[str, Any]:
    short, pretrained = side[:3], c.take(f"{side[:3]}_pretrained", side == "encoder")
    c.require(f"{short}_type", "siglip2")
    name = c.one_of(f"{side}_model", {"siglip2_base": "base", "siglip2_large": "large", "siglip2": "whole"})
    siglip, base = _SIGLIP | fixed.get("siglip2", {}), _BASE | fixed.get("base", {})
    table = int(siglip["num_patches"] ** 0.5)
    causal = c.take(f"causal_{side}", side == "decoder")
    if pretrained:
        layers = {"base": base["layer_num"], "large": 16, "whole": siglip["num_hidden_layers"]}[name]
        if layers > siglip["num_hidden_layers"]:
            raise ValueError(f"{_SYSTEM}.{side}_model needs {layers} layers; the pretrained one has {siglip['num_hidden_layers']}.")
        sizes = {"width": siglip["hidden_size"], "heads": siglip["num_attention_heads"], "hidden": siglip["intermediate_size"]}
    elif name == "base":
        layers, width = base["layer_num"], base["embed_dim"]
        sizes = {"width": width, "heads": base["num_heads"], "hidden": 4 * width}
    else:
        raise ValueError(f"{_SYSTEM}.{side}_model is of an untrained siglip2_large or siglip2, which the authors' class cannot build.")
    return {**sizes, "layers": layers, "table": table, "causal": causal}


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, _SYSTEM)
    fixed = c.take("shrunk", {})
    c.drop(*_IGNORED)
    c.one_of("content_degradation", {"resolution_power": True}, "resolution_power")
    patch, group = c.take("enc_patch_size", 16), c.take("group_size", 1)
    c.require("dec_patch_size", patch, 16)
    unit = c.take("codebook_l2_norm", True)
    out = {
        "image_size": c.take("image_size", 256),
        "patch_size": patch,
        "encoder": _transformer(c, "encoder", fixed),
        "decoder": _transformer(c, "decoder", fixed),
        "num_tokens": c.take("num_latent_tokens", 256),
        "group_size": group,
        "first_tokens": c.take("causal_num", None) or group,
        "power": float(c.take("degradation_power", 1.5)),
        "latent_dim": c.take("codebook_embed_dim", 8),
        "quantizer": {
            "kind": "vq",
            "codebook_size": c.take("codebook_size", 16384),
            "normalize": unit,
            "returns": "normalized" if unit else "raw",
            "commitment_weight": 0.25,
            "codebook_weight": 1.0,
            "update": "gradient",
            "kmeans_init": False,
            "replace_below": 0.0,
        },
    }
    c.done(swallowed=True)
    return out


_SIDE = "{encoder|decoder}"
_ROWS: tuple[Row, ...] = (
    ("encoder.visual_model.embeddings.patch_embedding.*", "encoder.patch_embed.*"),
    (_SIDE + ".visual_model.embeddings.position_embedding.weight", _SIDE + ".positions"),
    *under(_SIDE + ".visual_model.encoder.layers.{}.", _SIDE + ".blocks.{}.", SIGLIP_BLOCK),
    (_SIDE + ".visual_model.post_layernorm.*", _SIDE + ".norm_out.*"),
    (_SIDE + ".latent_pos_embed", _SIDE + ".token_positions"),
    ("encoder.latent_tokens", "encoder.queries"),
    ("decoder.mask_token", "decoder.mask_token"),
    ("decoder.to_pixel.model.*", "decoder.to_pixels.proj.*"),
    ("quant_conv.*", "to_code.*"),
    ("post_quant_conv.*", "from_code.*"),
    ("quantize.embedding.weight", "quantizer.codebook.embed"),
)
#: Queries and a map for noisy codes, which `correction` keeps.
_CORRECTION: tuple[Row, ...] = (
    ("encoder.refined_tokens", "encoder.refined_queries"),
    ("refine_conv.*", "encoder.from_code.*"),
)
_NOISY = tuple(theirs for theirs, _ in _CORRECTION)
#: What only training uses: teachers and heads, the window of used codes.
_TRAINING = (
    "repa_model.**",
    "projection.**",
    "global_token_proj.**",
    "quantize.codebook_used",
)


def _keys(own: DetailFlowConfig) -> KeyMap:
    p, corrects = own.patch_size, own.correction is not None
    return KeyMap(
        Unwrap("model", "ema"),
        Fuse(("q_proj", "k_proj", "v_proj"), "qkv", where="**.self_attn."),
        Rename([*_ROWS, *(_CORRECTION if corrects else ())], also_drop=[*_TRAINING, *(() if corrects else _NOISY)]),
        # linear maps of patches laid out as (row, column, colour), and to them
        Each(
            ("encoder.patch_embed.weight",),
            lambda v: v.unflatten(1, (p, p, 3)).permute(0, 3, 1, 2).contiguous(),
            lambda v: v.permute(0, 2, 3, 1).flatten(1),
        ),
        Each(("decoder.to_pixels.proj.weight",), lambda v: v[..., None, None], lambda v: v.flatten(1)),
        without_ones("{encoder|decoder}.token_positions", "encoder.queries", "encoder.refined_queries", "decoder.mask_token"),
    )


LAYOUTS = (
    Layout(
        system=_SYSTEM,
        upstream="ByteFlow-AI/DetailFlow modelling/tokenizer.py VQModel",
        family="detailflow",
        config=_config,
        keys=_keys,
    ),
)
