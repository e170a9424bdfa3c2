"""DM-Codec: SpeechTokenizer's network and JSON; its first level is distilled from a language model as well."""

from ....layouts.layout import Layout
from . import speechtokenizer

LAYOUTS = (
    Layout(
        system="dm-codec",
        upstream="mubtasimahasan/DM-Codec codec/model.py Model",
        family="speechtokenizer",
        config=speechtokenizer.config,
        keys=speechtokenizer.keys,
    ),
)
