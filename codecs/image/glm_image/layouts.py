"""GLM-Image's picture tokens as transformers publishes them, inside the whole model: `GlmImageVisionModel` and `GlmImageVQVAE`."""

from collections.abc import Mapping
from typing import Any

from ...layouts.configs import part
from ...layouts.fields import FOLDER_KEYS, TRANSFORMERS_KEYS, Fields
from ...layouts.keymap import KeyMap, Rename, Row, pointwise, under
from ...layouts.layout import Layout
from ...layouts.vit_keys import TIMM_BLOCK
from .model import GlmImageConfig

_ACTIVATIONS = {"gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "quick_gelu": "quick_gelu", "silu": "silu", "relu": "relu"}


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Config of the whole model, of which two parts are read: `vision_config` and `vq_config`."""
    c = Fields(config, "glm_image")
    c.drop(*FOLDER_KEYS, *TRANSFORMERS_KEYS)
    c.drop("text_config", "image_token_id", "image_start_token_id", "image_end_token_id")  # of the language model
    vision, vq = part(c, "vision_config", {}), part(c, "vq_config", {})
    for each in (vision, vq):
        each.drop(*TRANSFORMERS_KEYS, "attention_dropout", "initializer_range")
    vision.require("in_channels", 3)
    vision.require("spatial_merge_size", 1)  # with another value the authors' class splits its features wrongly
    vq.drop("in_channels")  # not read
    width = vision.take("hidden_size", 1536)
    if vq.take("latent_channels", 1536) != width:
        raise ValueError(f"glm_image: vq_config.latent_channels must be vision_config.hidden_size, {width}.")
    out = {
        "image_size": vision.take("image_size", 2048),
        "patch_size": vision.take("patch_size", 16),
        "width": width,
        "layers": vision.take("depth", 40),
        "heads": vision.take("num_heads", 16),
        "hidden": vision.take("intermediate_size", 6144),
        "activation": vision.one_of("hidden_act", _ACTIVATIONS, "gelu"),
        "bias": vision.take("attention_bias", True),
        "eps": float(vision.take("layer_norm_eps", 1e-6)),
        "code_dim": vq.take("embed_dim", 2048),
        "quantizer": {
            "kind": "vq",
            "codebook_size": vq.take("num_embeddings", 16384),
            "normalize": True,
            "returns": "normalized",
            "update": "gradient",
            "commitment_weight": 1.0,  # the authors' beta weighs the codebook term
            "codebook_weight": float(vq.take("beta", 0.25)),
            "kmeans_init": False,
            "replace_below": 0.0,
        },
    }
    for each in (vision, vq, c):
        each.done(swallowed=True)
    return out


#: Names begin with "model." in a whole model's file, and have no prefix in files of its parts.
_ROWS: tuple[Row, ...] = (
    ("[model.|]visual.patch_embed.proj.*", "tower.patch_embed.*"),
    ("[model.|]visual.embeddings.position_embedding.weight", "tower.positions"),
    *under("[model.|]visual.blocks.{}.", "tower.blocks.{}.", TIMM_BLOCK),
    ("[model.|]vqmodel.quant_conv.*", "to_code.*"),
    ("[model.|]vqmodel.quantize.embedding.weight", "quantizer.codebook.embed"),
)
#: The map back to the tower's width, which is unused, and the language model.
_DROPPED = ("[model.|]vqmodel.post_quant_conv.*", "[model.|]language_model.**", "lm_head.*")


def _keys(own: GlmImageConfig) -> KeyMap:
    return KeyMap(Rename(_ROWS, also_drop=_DROPPED), pointwise("to_code.weight", axes=2))


LAYOUTS = (
    Layout(
        system="glm_image-hf",
        upstream="huggingface/transformers models/glm_image GlmImageVisionModel, GlmImageVQVAE",
        family="glm_image",
        config=_config,
        keys=_keys,
        model_type="glm_image",
    ),
)
