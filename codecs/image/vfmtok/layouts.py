"""VFMTok (CVMI-Lab/VFMTok @ 828c780898): the arguments of `ModelArgs`, the YAML of both transformers under `transformer_config`.

The authors' file has no weights of the frozen DINOv2, which their class reads from another one. What their code fixes a config may
have under `shrunk`: `ch`, `table`, `encoder_heads`, `levels`, and the tower's sizes.
"""

from collections.abc import Mapping
from typing import Any

from ...layouts.configs import open_config, part
from ...layouts.fields import Fields
from ...layouts.keymap import Fuse, KeyMap, Rename, Row, State, Then, under, unwrap, without_ones
from ...layouts.layout import Layout
from ...layouts.llamagen_keys import FILES, llamagen_rows
from ...layouts.vit_keys import TIMM_BLOCK
from .model import VFMTokConfig

_SYSTEM = "vfmtok"
_TOWERS = {"dinov2_vitb14_reg": (768, 12, 12), "dinov2_vitl14_reg": (1024, 24, 16)}
_LEVELS = (5, 11, 17, 23)
#: Hidden width of the encoder's MLPs, at most four times its width.
_ENCODER_HIDDEN = 1024


def _tower(c: Fields, small: Mapping[str, Any]) -> dict[str, Any]:
    c.drop("target", "is_trainable")
    own = part(c, "params")
    width, layers, heads = own.one_of("pretrained_enc_arch", _TOWERS)
    own.require("pretrained_enc_withproj", False)
    own.require("pretrained_enc_pca_path", None)
    own.drop("pretrained_enc_path", "proj_dim", "antialias")
    own.done()
    c.done()
    sizes = {"width": width, "layers": layers, "heads": heads, "hidden": 4 * width, **small}
    return {**sizes, "registers": 4, "norm_out": "affine", "fit": "offset"}


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, _SYSTEM)
    small = Fields(c.take("shrunk", {}), f"{_SYSTEM}.shrunk")
    transformers = part(c, "transformer_config")
    sides = part(transformers, "encoder_config"), part(transformers, "decoder_config")
    encoder, decoder = (part(side, "params") for side in sides)
    for side in sides:
        side.drop("target")
        side.done()
    transformers.done()
    tower = _tower(part(encoder, "visual_encoder_config"), small.take("tower", {}))
    for one in (encoder, decoder):
        one.require("layer_type", "normal")
        one.drop("dropout", "dim_head", "d_model")
    encoder.require("in_channels", tower["width"], 1024)
    encoder.drop("num_head", "mlp_dim")  # the class has its own
    shared = {key: encoder.take(key) for key in ("image_size", "patch_size", "dim", "depth", "n_carrier")}
    for key, value in shared.items():
        decoder.require(key, value)
    decoder.drop("num_register_tokens")
    width, ch, unit = shared["dim"], small.take("ch", 128), c.take("codebook_l2_norm", True)
    c.drop("encoder_ch_mult", "codebook_embed_dim", "codebook_show_usage", "entropy_loss_ratio", "vq_model")
    c.require("z_channels", width, 256)
    mult = c.take("decoder_ch_mult", [1, 1, 2, 2, 4])
    if 2 ** (len(mult) - 1) != shared["patch_size"]:
        raise ValueError(f"{_SYSTEM}: patch_size is {shared['patch_size']}; decoder_ch_mult enlarges by {2 ** (len(mult) - 1)}.")
    out = {
        "image_size": shared["image_size"],
        "tower": tower,
        "levels": list(small.take("levels", _LEVELS)),
        "width": width,
        "layers": shared["depth"],
        "encoder_heads": small.take("encoder_heads", 8),
        "decoder_heads": decoder.take("num_head"),
        "encoder_hidden": min(4 * width, _ENCODER_HIDDEN),
        "decoder_hidden": (int(decoder.take("mlp_dim") * 2 / 3) + 7) // 8 * 8,
        "points": encoder.take("enc_n_points", 4),
        "num_tokens": shared["n_carrier"],
        "table": small.take("table", 24),
        "latent_dim": c.take("codebook_slots_embed_dim", 12),
        "quantizer": {
            "kind": "vq",
            "codebook_size": c.take("codebook_size", 16384),
            "normalize": unit,
            "returns": "normalized" if unit else "raw",
            "commitment_weight": c.take("commit_loss_beta", 0.25),
            "codebook_weight": 1.0,
            "update": "gradient",
            "kmeans_init": False,
            "replace_below": 0.0,
        },
        "decoder": {"widths": [ch * m for m in mult], "blocks": 2, "dropout": c.take("dropout_p", 0.0)},
    }
    for fields in (small, encoder, decoder, c):
        fields.done()
    return out


_DINO = "encode_transformer.backbone.pretrained_encoder."
_SAMPLING: tuple[Row, ...] = (
    ("cross_attn.sampling_offsets.*", "sampling.offsets.*"),
    ("cross_attn.attention_weights.*", "sampling.weights.*"),
    ("cross_attn.value_proj.*", "sampling.value.*"),
    ("cross_attn.output_proj.*", "sampling.out.*"),
    ("norm1.*", "sampling_norm.*"),
    ("self_attn.qkv.*", "attention.qkv.*"),
    ("self_attn.out_proj.*", "attention.out.*"),
    ("norm3.*", "attention_norm.*"),
    ("linear1.*", "mlp.0.*"),
    ("linear2.*", "mlp.2.*"),
    ("norm2.*", "mlp_norm.*"),
)
_CAUSAL: tuple[Row, ...] = (
    ("norm1.*", "attention_norm.*"),
    ("attn1.qkv.*", "attention.qkv.*"),
    ("attn1.out_proj.*", "attention.out.*"),
    ("norm2.*", "mlp_norm.*"),
    ("ffnet.w12.*", "gate_up.*"),
    ("ffnet.w3.*", "down.*"),
)
_ROWS: tuple[Row, ...] = (
    (_DINO + "cls_token", "tower.class_token"),
    (_DINO + "pos_embed", "tower.positions"),
    (_DINO + "register_tokens", "tower.registers"),
    (_DINO + "patch_embed.proj.*", "tower.patch_embed.*"),
    (_DINO + "norm.*", "tower.norm_out.*"),
    *under(_DINO + "blocks.{}.", "tower.blocks.{}.", TIMM_BLOCK),
    ("encode_transformer.norm_layers.{}.*", "encoder.projections.{}.5.*"),
    ("encode_transformer.projectors.{}.mlp.{}.*", "encoder.projections.{}.{}.*"),
    ("encode_transformer.carrier_tokens", "encoder.queries"),
    ("encode_transformer.slots_pos", "encoder.positions"),
    ("encode_transformer.norm_pre1.*", "encoder.norm_in.*"),
    *under("encode_transformer.transformer.layers.{}.", "encoder.layers.{}.", _SAMPLING),
    ("pre_slots_quant.*", "to_code.*"),
    ("slot_quantize.embedding.weight", "quantizer.codebook.embed"),
    ("post_slots_quant.*", "from_code.*"),
    ("decode_transformer.position_embedding", "reader.positions"),
    ("decode_transformer.slot_position_embedding", "reader.token_positions"),
    ("decode_transformer.mask_embedding", "reader.mask_token"),
    ("decode_transformer.cls_token", "reader.class_token"),
    ("decode_transformer.norm_post1.*", "reader.norm_in.*"),
    *under("decode_transformer.transformer.layers.{}.", "reader.layers.{}.", _CAUSAL),
)
#: The second pass of training, which `predicts_features` keeps.
_SECOND_PASS: tuple[Row, ...] = (
    ("decode_transformer.mask_dino", "reader.feature_mask"),
    ("decode_transformer.norm_post2.*", "reader.feature_norm.*"),
    ("decode_transformer.proj.*", "reader.to_features.*"),
)
#: Registers that nothing sees, DINOv2's masks, the window of used codes.
_TRAINING = (
    "decode_transformer.register_tokens",
    _DINO + "mask_token",
    "slot_quantize.codebook_used",
)


def _beside_the_tower(state: State) -> State:
    """The authors' weights out of their wrapper, and those of DINOv2, which stand beside it if they come from a file of their own."""
    tower = {k: v for k, v in state.items() if k.startswith(_DINO)}
    return unwrap({k: v for k, v in state.items() if k not in tower}, *FILES) | tower


def _keys(own: VFMTokConfig) -> KeyMap:
    rows = [*_ROWS, *llamagen_rows(0, len(own.decoder.widths)), *(_SECOND_PASS if own.predicts_features else ())]
    dropped = [*_TRAINING, *(() if own.predicts_features else (theirs for theirs, _ in _SECOND_PASS))]
    return KeyMap(
        Then(_beside_the_tower, lambda state: state),
        Fuse(("q_proj", "k_proj", "v_proj"), "qkv", where="**.{self_attn|attn1}."),
        Fuse(("q", "k", "v"), "qkv", where="decoder.**."),
        Rename(rows, also_drop=dropped),
        without_ones("tower.class_token", "tower.positions", "tower.registers", "encoder.queries", "encoder.positions"),
        without_ones("reader.positions", "reader.token_positions", "reader.mask_token", "reader.class_token", "reader.feature_mask"),
    )


LAYOUTS = (
    Layout(
        system=_SYSTEM,
        upstream="CVMI-Lab/VFMTok vfmtok/tokenizer/vq_model.py VQModel",
        family="vfmtok",
        config=_config,
        keys=_keys,
    ),
)
