"""GigaTok (SilentView/GigaTok), which ReTok was made from: the same arguments and keys, without redundant tokens."""

from ....layouts.layout import Layout
from .retok import retok_config, retok_keys

LAYOUTS = (
    Layout(
        system="gigatok",
        upstream="SilentView/GigaTok tokenizer/tokenizer_image/vq/vq_vit_model.py VQVitModelPlus",
        family="retok",
        config=lambda config: retok_config(config, "gigatok"),
        keys=retok_keys,
    ),
)
