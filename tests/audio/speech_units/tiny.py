"""`speech_units` in tiny form, for tests over all families."""

from tiny_parts import SMALL_HUBERT, SMALL_W2V_BERT

#: A frame every 20 samples.
FRAMES_OF_20 = {"conv_dim": [4, 4], "conv_kernel": [6, 4], "conv_stride": [5, 4]}
SMALL_UNITS = {
    "model": SMALL_HUBERT | FRAMES_OF_20 | {"num_hidden_layers": 2},
    "model_name": "",
    "layers": [1],
    "quantizer": {"kind": "kmeans", "codebook_size": 8},
}

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "speech-units": ("speech_units", SMALL_UNITS),
    "speech-units-layers": (
        "speech_units",
        SMALL_UNITS
        | {"layers": [0, 2], "normalize": "clip", "pad_samples": 3, "chunk_samples": 97}
        | {"model": SMALL_UNITS["model"] | {"model_type": "wavlm", "do_stable_layer_norm": True, "feat_extract_norm": "layer"}},
    ),
    "speech-units-fbanks": ("speech_units", SMALL_UNITS | {"model": SMALL_W2V_BERT}),
}
