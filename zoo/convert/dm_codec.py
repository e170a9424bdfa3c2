"""DM-Codec: SpeechTokenizer's network and JSON, taught by a language model as well."""

from . import speechtokenizer
from .tools.layout import Layout

LAYOUTS = (
    Layout(
        system="dm-codec",
        upstream="mubtasimahasan/DM-Codec codec/model.py Model",
        family="speechtokenizer",
        config=speechtokenizer.config,
        keys=speechtokenizer.keys,
    ),
)
