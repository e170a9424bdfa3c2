"""TokenFlow with its three teachers (ByteVisionLab/TokenFlow @ 9812da01c0, tokenflow/tokenizer/vq_model.py)."""

from collections.abc import Mapping
from typing import Any

import torch

from ...layers.vision_tower import CLIP_MEAN, CLIP_STD
from ...layouts.configs import open_config, part, siglip_tower, training_only
from ...layouts.fields import Fields
from ...layouts.keymap import Fuse, KeyMap, Row, State, Then, under, with_ones, without_ones
from ...layouts.layout import Layout
from ...layouts.llamagen_keys import llamagen_map
from ...layouts.vit_keys import BLOCK, SIGLIP_BLOCK, TIMM_BLOCK, query_value_bias
from ...quantizers.multiscale_vq import MultiScaleVQConfig
from ...serialize import CheckpointError
from ..unitok.layouts import ENCODER as VITAMIN
from .model import TokenFlowConfig

#: Scales of each teacher. The CLIP teacher's last scale is for pictures of 256 pixels (`infer_interpolate`); it was made for 224.
_SCALES = {
    "siglip_384": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 17, 22, 27],
    "clipb_224": [1, 2, 4, 6, 8, 10, 12, 14, 16],
    "vitamin_xlarge_256": [1, 2, 4, 6, 8, 10, 12, 14, 16],
}


def _siglip(c: Fields) -> dict[str, Any]:
    """Our tower's fields from SigLIP's config, without the last layer: the features come from the one before."""
    return {"tower": siglip_tower(c, layers_left_out=1, norm_out="none"), "tower_input": "clipped"}


def _clip(c: Fields) -> dict[str, Any]:
    """OpenAI's ViT-B/16 up to the norm after its last block, over all patches."""
    width = c.take("width", 768)
    c.drop("output_dim")  # width of a projection that the authors remove
    tower = {
        "image_size": c.take("input_resolution", 224),
        "patch_size": c.take("patch_size", 16),
        "width": width,
        "layers": c.take("layers", 12),
        "heads": c.take("heads", width // 64),
        "hidden": 4 * width,
        "registers": 0,
        "layer_scale": None,
        "gelu": "quick",
        "eps": 1e-5,
        "norm_in": True,
        "norm_out": "affine",
        "patch_bias": False,
        "fit": "offset",
    }
    c.done()
    return {"tower": tower, "tower_input": "raw"}


def _vitamin(c: Fields) -> dict[str, Any]:
    """timm's `vitamin_xlarge_256` without its pooling, norm and head."""
    tower = {
        "stem_width": c.take("stem_width", 192),
        "conv_widths": c.take("conv_widths", [192, 384]),
        "conv_blocks": c.take("conv_blocks", [2, 4]),
        "width": c.take("width", 1152),
        "layers": c.take("layers", 32),
        "heads": c.take("heads", 16),
        "gelu": "none",
        "norm_out": False,
    }
    c.done()
    return {"vitamin": tower, "tower_input": "clip"}


_TOWERS = {"siglip_384": _siglip, "clipb_224": _clip, "vitamin_xlarge_256": _vitamin}


def _stack(c: Fields, side: str, *, enhanced: bool, dropout: float) -> dict[str, Any]:
    mult = c.take(f"{side}_ch_mult", [1, 1, 2, 2, 4])
    own = part(c, side, {})  # the published class passes width and blocks to the enhanced decoder only
    width, blocks = own.take("ch", 128 * (1 + enhanced)), own.take("num_res_blocks", 2 * (1 + enhanced))
    own.done()
    out = {"widths": [width * m for m in mult], "attention_levels": [len(mult) - 1], "dropout": dropout}
    return out | ({"stem_width": width, "blocks": blocks} if side == "encoder" else {"blocks": blocks + 1})


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "tokenflow")
    kind = c.one_of("teacher", {name: name for name in _TOWERS})
    c.require("codebook_l2_norm", True)  # the authors' class has no tables without it
    c.require("kmeans", False)
    c.take("codebook_show_usage", True)  # a buffer of recent ids, for display
    training_only(c, "entropy_loss_ratio", 0.0)
    larger = c.take("infer_interpolate", False) and kind == "clipb_224"
    teacher = _TOWERS[kind](part(c, "teacher_config", {}))
    tower = teacher.get("tower") or teacher["vitamin"]
    patch = tower.get("patch_size", 16)
    own = part(c, "shrunk", {})  # constants of the authors' code
    own.drop("usage", "img_size", "patch_size")  # length of that buffer; the other two repeat the grid's size
    usual = _SCALES[kind] if larger or kind != "clipb_224" else _SCALES[kind][:-1]
    scales = own.take("scales", usual)
    size = own.take("image_size", 384 if kind == "siglip_384" else usual[-1] * 16)
    trained = tower.get("image_size", size) // patch  # the grid of the stored position tables
    if kind == "siglip_384":
        size = tower["image_size"]
    if scales[-1] != size // patch:
        raise ValueError(f"tokenflow: the last scale is {scales[-1]}, but the teacher's grid is {size // patch} on a side.")
    width, semantic = own.take("embed_dim", tower["width"]), c.take("semantic_code_dim", 32)
    if width != tower["width"]:
        raise ValueError(f"tokenflow: embed_dim {width} must be the teacher's width {tower['width']}.")
    dropout, enhanced = float(c.take("dropout_p", 0.0)), c.take("enhanced_decoder", False)
    decoder = {
        "image_size": trained,
        "patch_size": 1,
        "in_channels": semantic,
        "width": width,
        "layers": own.take("decoder_depth", 3),
        "heads": own.take("num_heads", 12),
        "hidden": 4 * width,
        "registers": 0,
        "layer_scale": None,
        "norm_out": "affine",
        "fit": "offset",
    }
    out = {
        **teacher,
        "image_size": size,
        "output_size": own.take("out_size", size),
        "encoder": _stack(c, "encoder", enhanced=False, dropout=dropout),
        "decoder": _stack(c, "decoder", enhanced=enhanced, dropout=dropout),
        "z_channels": c.take("z_channels", 256),
        "pixel_dim": c.take("codebook_embed_dim", 8),
        "semantic_decoder": decoder,
        "feature_dim": own.take("decoder_out_dim", 512 if kind == "clipb_224" else 1152),
        "quantizer": {
            "kind": "multiscale_vq",
            "codebook_size": c.take("codebook_size", 16384),
            "scales": [[s, s] for s in scales],
            "phi_ratio": 0.0,
            "semantic_dim": semantic,
            "normalize": True,
            "returns": "normalized",
            "commitment_weight": float(c.take("commit_loss_beta", 1.0)),
        },
    }
    own.done()
    c.done()
    return out


_T = "encoder_vqkd."
_S = "encoder_vqkd.[|vision_model.]"  # transformers' class before version 5 nests its tower one level deeper
_CLIP_ROWS: tuple[Row, ...] = (
    (_T + "conv1.weight", "tower.patch_embed.weight"),
    (_T + "class_embedding", "tower.class_token"),
    (_T + "positional_embedding", "tower.positions"),
    (_T + "ln_pre.*", "tower.norm_in.*"),
    (_T + "ln_post.*", "tower.norm_out.*"),
    *under(_T + "transformer.resblocks.{}.", "tower.blocks.{}.", BLOCK),
)
_SIGLIP_ROWS: tuple[Row, ...] = (
    (_S + "embeddings.patch_embedding.*", "tower.patch_embed.*"),
    (_S + "embeddings.position_embedding.weight", "tower.positions"),
    *under(_S + "encoder.layers.{}.", "tower.blocks.{}.", SIGLIP_BLOCK),
)
_VITAMIN_ROWS = tuple((a.replace("encoder.", _T, 1), f"tower.{b.removeprefix('encoder.')}") for a, b in VITAMIN if b)
_SEMANTIC: tuple[Row, ...] = (
    *under("decoder_vqkd.blocks.{}.", "semantic_decoder.blocks.{}.", TIMM_BLOCK),
    ("decoder_vqkd.patch_embed.proj.*", "semantic_decoder.patch_embed.*"),
    ("decoder_vqkd.cls_token", "semantic_decoder.class_token"),
    ("decoder_vqkd.pos_embed", "semantic_decoder.positions"),
    ("decoder_vqkd.fc_norm.*", "semantic_decoder.norm_out.*"),
    ("encode_task_layer.{0|2}.*", "to_semantic.{0|2}.*"),
    ("decode_task_layer.{0|2}.*", "to_features.{0|2}.*"),
    ("quantizer.codebook.embed", "quantizer.codebook.embed"),  # the paired tables are joined before
)


def _teacher_scale(kind: str) -> Then:
    """Drop the stored mean and deviation of the teacher's input, which the config has here; CheckpointError if they differ."""
    want = {"clipped": ((0.5,) * 3, (0.5,) * 3), "clip": (CLIP_MEAN, CLIP_STD)}.get(kind)

    def read(state: State) -> State:
        out = dict(state)
        for i, name in enumerate(("shift", "scale")):
            value = out.pop(f"scaling_layer.{name}", None)
            if value is not None and (want is None or not torch.allclose(value.flatten().float(), torch.tensor(want[i]))):
                have = value.flatten().tolist()
                raise CheckpointError(f"tokenflow: scaling_layer.{name} is {have}; this teacher's is {want and want[i]}.")
        return out

    return Then(read, lambda state: state)


def _tables(semantic: int) -> Then:
    """The paired tables, semantic and pixel, as one."""
    names = ("quantize.embedding_vqkd.weight", "quantize.embedding_vqgan.weight")

    def read(state: State) -> State:
        out = dict(state)
        out["quantizer.codebook.embed"] = torch.cat([out.pop(n) for n in names], dim=1)
        return out

    def write(state: State) -> State:
        out = dict(state)
        table = out.pop("quantizer.codebook.embed")
        return out | dict(zip(names, (table[:, :semantic].clone(), table[:, semantic:].clone()), strict=True))

    return Then(read, write)


def _keys(own: TokenFlowConfig) -> KeyMap:
    assert isinstance(own.quantizer, MultiScaleVQConfig)
    rows, more, dropped = _SIGLIP_ROWS, [], ()
    if own.vitamin is not None:
        rows = _VITAMIN_ROWS
    elif own.tower.class_token:
        rows, more = _CLIP_ROWS, [with_ones("tower.class_token")]
    else:  # SigLIP's parts after the features: last layer, pooling and norm
        dropped = (f"{_S}encoder.layers.{own.tower.layers}.**", f"{_S}[post_layernorm|head].**")
    unwrap, *stacks = llamagen_map(
        len(own.encoder.widths), len(own.decoder.widths), more=[*rows, *_SEMANTIC], dropped=dropped
    ).steps
    return KeyMap(
        unwrap,
        _teacher_scale(own.tower_input),
        _tables(own.quantizer.semantic_dim),
        Fuse(("q_proj", "k_proj", "v_proj"), "qkv", where=_S + "encoder.layers.{}.self_attn."),
        query_value_bias("decoder_vqkd.blocks.{}.attn."),
        *stacks,
        without_ones("semantic_decoder.{class_token|positions}"),
        *more,
    )


LAYOUTS = (
    Layout(
        system="tokenflow",
        upstream="ByteVisionLab/TokenFlow tokenflow/tokenizer/vq_model.py TokenFlow",
        family="tokenflow",
        config=_config,
        keys=_keys,
    ),
)
