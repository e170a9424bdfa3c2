"""KARL (ShivamDuggal4/karl), the variant over a VQGAN."""

from collections.abc import Mapping
from typing import Any

from ...layouts.configs import open_config
from ...layouts.distilled_keys import FILES, SHARED, distilled_config
from ...layouts.keymap import Each, KeyMap, Rename, Row, Unwrap, without_ones
from ...layouts.layout import Layout
from .model import KARLConfig


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "karl")
    c.drop("num_init_latent_tokens", "max_rollout_iters", "dynamic_halting", "dynamic_halting_threshold")  # ALIT's, not read
    out = {**distilled_config(c), "grid_size": 16, "position_size": c.take("max_grid_tokens", 64), "max_tokens": 512}
    c.done()
    return out


_ROWS: tuple[Row, ...] = (
    ("encoder_ln_pre.*", "encoder_norm_in.*"),
    ("encoder_ln_post.*", "encoder_norm_out.*"),
    ("encoder_ln_post_halt.*", "halting_norm.*"),
    ("halting_mlp.{0|2}.*", "halting.{0|2}.*"),
    ("decoder_embed.*", "from_latent.*"),
    ("{encoder|decoder}_positional_embedding", "{encoder|decoder}_positions"),
    ("decoder_mask_token", "mask_token"),
    ("decoder_latent_tokens_timestep_embed", "token_positions"),
    ("rec_loss_embeddings", "error_tokens"),
)


def _keys(own: KARLConfig) -> KeyMap:
    return KeyMap(
        Unwrap(*FILES),
        Rename((*SHARED, *_ROWS)),
        Each(  # the authors' table has channels first
            ("{encoder|decoder}_positions",),
            lambda v: v.permute(1, 2, 0).contiguous(),
            lambda v: v.permute(2, 0, 1).contiguous(),
        ),
        without_ones("mask_token", axes=2),
    )


LAYOUTS = (
    Layout(
        system="karl",
        upstream="ShivamDuggal4/karl kolmogorov_tokenizers/karl_vqgan.py KARLTokenizer",
        family="karl",
        config=_config,
        keys=_keys,
    ),
)
