"""NeuCodec, X-codec2's network at 24 kHz out, as neuphonic/neucodec and transformers publish it."""

from functools import partial

from ....layouts.layout import Layout
from .xcodec2 import authors_config, authors_keys, hf_config, hf_keys, say_hf

LAYOUTS = (
    Layout(
        system="neucodec",
        upstream="neuphonic/neucodec neucodec/ CodecEncoder, CodecDecoderVocos, SemanticEncoder",
        family="xcodec2",
        config=partial(authors_config, neucodec=True),
        keys=authors_keys,
    ),
    Layout(
        system="neucodec-hf",
        upstream="huggingface/transformers models/neucodec NeuCodecModel",
        family="xcodec2",
        config=partial(hf_config, neucodec=True),
        keys=hf_keys,
        authors_config=partial(say_hf, neucodec=True),
        model_type="neucodec",
    ),
)
