"""ALIT (ShivamDuggal4/adaptive-length-tokenizer), the variant over a VQGAN."""

from collections.abc import Mapping
from typing import Any

from ...layouts.configs import open_config
from ...layouts.distilled_keys import FILES, SHARED, distilled_config
from ...layouts.keymap import KeyMap, Rename, Row, Unwrap, without_ones
from ...layouts.layout import Layout
from .model import ALITConfig


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "alit")
    out = distilled_config(c)
    out |= {
        "grid_size": c.take("img_size", 256) // out["patch_size"],
        "tokens_per_rollout": c.take("num_init_latent_tokens", 32),
        "rollouts": c.take("max_rollout_iters", 8),
        "max_tokens": 256,
        "halting": c.take("dynamic_halting", True),
        "halting_threshold": c.take("dynamic_halting_threshold", 0.55),
    }
    c.done()
    return out


_ROWS: tuple[Row, ...] = (
    ("encoder_ln_pre.*", "norm_in.*"),
    ("encoder_ln_recursive.*", "norm_again.*"),
    ("encoder_ln_post.*", "norm_out.*"),
    ("decoder.decoder_embed.*", "from_latent.*"),
    ("decoder.latent_token_positional_embedding", "token_positions"),
    ("encoder_class_embedding", "class_token"),
    ("encoder_mask_token", "mask_token"),
    ("encoder_positional_embedding", "positions"),
    ("decoder_class_embedding", "decoder_class_token"),
    ("decoder_mask_token", "decoder_mask_token"),
    ("decoder_positional_embedding", "decoder_positions"),
    ("latent_token_positional_embedding", "latent_positions"),
    ("timestep_embedding", "rollout_tokens"),
)


def _keys(own: ALITConfig) -> KeyMap:
    tokens = without_ones("mask_token", axes=2), without_ones("decoder_mask_token")
    return KeyMap(Unwrap(*FILES), Rename((*SHARED, *_ROWS)), *tokens)


LAYOUTS = (
    Layout(
        system="alit",
        upstream="ShivamDuggal4/adaptive-length-tokenizer adaptive_tokenizers/adaptive_vqgan.py AdaptiveLengthImageTokenizer",
        family="alit",
        config=_config,
        keys=_keys,
    ),
)
