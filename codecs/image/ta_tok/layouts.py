"""TA-Tok's checkpoint (csuhan/Tar @ 47da8e15ee, tok/ta_tok.py): `{"model": {"args": arguments, "sd": weights}}`.

The file holds the arguments of its class, which win over those of a config. The ViT's sizes come from its name, as in transformers'
SigLIP 2, or from `teacher_config`; those of the decoder are the defaults of transformers' `Siglip2VisionConfig`.
"""

from collections.abc import Mapping
from typing import Any

import torch

from ...layouts.configs import open_config, part, siglip_tower
from ...layouts.fields import Fields
from ...layouts.keymap import Fuse, KeyMap, Rename, Row, State, Then, as_convolution, under
from ...layouts.layout import Layout
from ...layouts.vit_keys import SIGLIP_BLOCK, named_siglip
from ...serialize import CheckpointError
from .model import TATokConfig

_SYSTEM = "ta-tok"


def _settings(state: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that the checkpoint holds beside its weights; empty for bare weights."""
    model = state.get("model")
    args = model.get("args") if isinstance(model, Mapping) else None
    return dict(args) if isinstance(args, Mapping) else {}


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, _SYSTEM)
    c.drop("bottleneck_token_num", "input_type")  # not read, and what `forward` returns
    teacher = c.take("teacher", "google/siglip2-so400m-patch14-384")
    given = c.take("teacher_config", None)
    sizes = given if isinstance(given, Mapping) else named_siglip(teacher, f"{_SYSTEM}.teacher")
    layers, layer = sizes.get("num_hidden_layers", 27), c.take("select_layer_id", -2)
    kept = layer if layer >= 0 else layers + 1 + layer  # the first of the hidden states is the sequence before the layers
    if not 0 < kept <= layers:
        raise ValueError(f"{_SYSTEM}.select_layer_id is {layer}; the ViT has {layers} layers.")
    tower = siglip_tower(Fields(sizes, f"{_SYSTEM}.teacher_config"), layers_left_out=layers - kept, norm_out="none")
    size = c.take("input_size", 384)
    if size // tower["patch_size"] != tower["image_size"] // tower["patch_size"]:
        raise ValueError(f"{_SYSTEM}.input_size is {size}, but the ViT's position table is for {tower['image_size']} pixels.")
    dim, quantizer = _bottleneck(part(c, "bottleneck"))
    own = part(c, "decoder_config", {})
    decoder = {
        "image_size": int(own.take("num_patches", 256) ** 0.5),
        "patch_size": 1,
        "in_channels": dim,
        "width": tower["width"],
        "layers": c.take("decoder_depth", 3),
        "heads": own.take("num_attention_heads", 12),
        "hidden": own.take("intermediate_size", 3072),
        "class_token": False,
        "registers": 0,
        "layer_scale": None,
        "gelu": "tanh",
        "norm_out": "affine",
        "fit": "bilinear",
    }
    own.done()
    out = {"tower": tower | {"image_size": size}, "decoder": decoder, "pool": c.take("pool_scale", 1), "quantizer": quantizer}
    c.done(swallowed=True)
    grid = size // tower["patch_size"]
    return out | {"pools": [p for p in (1, 2, 3) if p <= grid]}


def _bottleneck(c: Fields) -> tuple[int, dict[str, Any]]:
    """(width of the codes, the quantizer's config)."""
    c.require("name", "bottleneck")
    args = part(c, "args")
    c.done()
    dim = args.take("bottleneck_dim")
    if dim < 1:
        raise ValueError(f"{args.name}.bottleneck_dim is {dim}; without the maps around the codes it is not supported.")
    regularizer = part(args, "regularizer")
    args.drop("norm", "token_nums", "input_dim", "output_dim")  # filled in by the class, or not read
    args.done(swallowed=True)
    regularizer.require("name", "simvq")
    q = part(regularizer, "args")
    regularizer.done()
    q.drop("dim", "token_nums", "same_index_shape", "stochastic_temperature")
    q.drop("stochastic")  # their uses of it take the most similar row too (`set_eval_deterministic`)
    unit = q.take("l2_normalized", False)
    quantizer = {"kind": "simvq", "codebook_size": q.take("codebook_size"), "bias": True, "normalize": unit}
    q.done(swallowed=True)
    return dim, quantizer


def _input_scale(state: State) -> State:
    """Drop the stored mean and deviation of the pixels, 0.5 here; CheckpointError if they differ."""
    out = dict(state)
    for name in ("shift", "scale"):
        value = out.pop(f"scale_layer.{name}", None)
        if value is not None and not torch.allclose(value.float(), torch.tensor(0.5)):
            raise CheckpointError(f"{_SYSTEM}: scale_layer.{name} is {value.flatten().tolist()}; only 0.5 is supported.")
    return out


_E, _D = "encoder.[|vision_model.]", "decoder.[vision_model.|]"  # releases of transformers nest them differently
_ROWS: tuple[Row, ...] = (
    (_E + "embeddings.patch_embedding.*", "tower.patch_embed.*"),
    (_E + "embeddings.position_embedding.weight", "tower.positions"),
    *under(_E + "encoder.layers.{}.", "tower.blocks.{}.", SIGLIP_BLOCK),
    (_D + "embeddings.patch_embedding.*", "decoder.patch_embed.*"),
    (_D + "embeddings.position_embedding.weight", "decoder.positions"),
    *under(_D + "encoder.layers.{}.", "decoder.blocks.{}.", SIGLIP_BLOCK),
    (_D + "post_layernorm.*", "decoder.norm_out.*"),
    ("encode_task_layer.0.*", "to_features.0.*"),
    ("bottleneck.in_linear.*", "to_code.*"),
    ("bottleneck.regularizer.embedding.weight", "quantizer.table"),
    ("bottleneck.regularizer.embedding_proj.*", "quantizer.transform.*"),
    ("bottleneck.out_linear.*", "from_code.*"),
    ("decode_task_layer.{0|2}.*", "from_features.{0|2}.*"),
)


def _unwrapped(state: State) -> State:
    inner = state.get("model", state)
    return dict(inner.get("sd", inner)) if isinstance(inner, Mapping) else dict(state)


def _keys(own: TATokConfig) -> KeyMap:
    # what comes after the layer that is read, both poolings, a frozen teacher, a learned temperature
    later = [f"{_E}encoder.layers.{i}.**" for i in range(own.tower.layers, own.tower.layers + 64)]
    dropped = (*later, f"{_E}[post_layernorm|head].**", f"{_D}head.**", "teacher.**", "**.stochastic_temperature_inv")
    return KeyMap(
        Then(_unwrapped, lambda state: state),
        Then(_input_scale, lambda state: state),
        Fuse(("q_proj", "k_proj", "v_proj"), "qkv", where="**.self_attn."),
        Rename(_ROWS, also_drop=dropped),
        as_convolution("decoder.patch_embed.weight"),
    )


LAYOUTS = (
    Layout(
        system=_SYSTEM,
        upstream="csuhan/Tar tok/ta_tok.py TextAlignedTokenizer",
        family="ta_tok",
        config=_config,
        keys=_keys,
        settings=_settings,
    ),
)
