"""Paella's VQGAN as diffusers publishes it: `PaellaVQModel` of release 0.42.1. Pixels in 0..1, which its config does not state."""

from collections.abc import Mapping
from typing import Any

from ...layouts.configs import check_round_trip, open_config, the_quantizer
from ...layouts.diffusers_keys import HUB_KEYS
from ...layouts.keymap import KeyMap, Rename, Row
from ...layouts.layout import Layout
from ...quantizers.vq import VQConfig
from .model import PaellaConfig

_SYSTEM = "paella-vq"


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, _SYSTEM)
    c.drop(*HUB_KEYS, "scale_factor")  # the factor is that of a diffusion model over the latents
    c.require("in_channels", 3)
    c.require("out_channels", 3)
    out = {
        "patch_size": c.take("up_down_scale_factor", 2),
        "width": c.take("embed_dim", 384),
        "levels": c.take("levels", 2),
        "blocks": c.take("bottleneck_blocks", 12),
        "latent_dim": c.take("latent_channels", 4),
        "quantizer": {
            "kind": "vq",
            "codebook_size": c.take("num_vq_embeddings", 8192),
            "update": "gradient",
            "commitment_weight": 0.25,
            "codebook_weight": 1.0,
            "kmeans_init": False,
            "replace_below": 0.0,
        },
    }
    c.done(swallowed=True)
    return out


def _back(own: PaellaConfig) -> dict[str, Any]:
    """`config.json` of a PaellaVQModel with this network."""
    out = {
        "_class_name": "PaellaVQModel",
        "in_channels": 3,
        "out_channels": 3,
        "up_down_scale_factor": own.patch_size,
        "levels": own.levels,
        "bottleneck_blocks": own.blocks,
        "embed_dim": own.width,
        "latent_channels": own.latent_dim,
        "num_vq_embeddings": the_quantizer(own.quantizer, VQConfig).codebook_size,
    }
    return check_round_trip(own, out, _config)


def _block(theirs: str, ours: str) -> list[Row]:
    return [
        (f"{theirs}.gammas", f"{ours}.gammas"),
        (f"{theirs}.depthwise.1.*", f"{ours}.depthwise.*"),
        (f"{theirs}.channelwise.{{0|2}}.*", f"{ours}.mlp.{{0|2}}.*"),
    ]


def _rows(own: PaellaConfig) -> list[Row]:
    """Both numbered lists of the authors' class hold blocks and resamplings in order."""
    rows: list[Row] = [("in_block.1.*", "encoder.stem.*"), ("out_block.0.*", "decoder.head.*"), ("up_blocks.0.0.*", "decoder.stem.*")]
    for i in range(own.levels):
        rows += _block(f"down_blocks.{2 * i}", f"encoder.blocks.{i}")
        rows += [(f"down_blocks.{2 * i - 1}.*", f"encoder.halvings.{i - 1}.*")] if i else []
    last = f"down_blocks.{2 * own.levels - 1}"
    rows += [(f"{last}.0.weight", "encoder.head.weight"), (f"{last}.1.{{weight|bias}}", "encoder.norm.{weight|bias}")]
    rows += [(f"{last}.1.running_mean", "encoder.norm.mean"), (f"{last}.1.running_var", "encoder.norm.variance")]
    at = 1
    for i in range(own.levels):
        if i:
            rows.append((f"up_blocks.{at}.*", f"decoder.doublings.{i - 1}.*"))
            at += 1
        for j in range(1 if i else own.blocks):
            rows += _block(f"up_blocks.{at}", f"decoder.levels.{i}.{j}")
            at += 1
    return [*rows, ("vquantizer.embedding.weight", "quantizer.codebook.embed")]


LAYOUTS = (
    Layout(
        system=_SYSTEM,
        upstream="huggingface/diffusers src/diffusers/pipelines/deprecated/wuerstchen/modeling_paella_vq_model.py PaellaVQModel",
        family="paella",
        config=_config,
        keys=lambda own: KeyMap(Rename(_rows(own), also_drop=("**.num_batches_tracked",))),
        authors_config=_back,
        files=("config.json", "diffusion_pytorch_model.safetensors"),
        class_name="PaellaVQModel",
    ),
)
