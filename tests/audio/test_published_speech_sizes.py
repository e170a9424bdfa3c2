"""Files of published speech codecs are as large as what the layout writes for the published config: shapes proved without a weight.

    pytest tests/audio/test_published_speech_sizes.py
"""

import pytest
from published_files import facts, published_config
from published_sizes import written_numbers
from tokenzoo.zoo.registry import card
from tokenzoo.zoo.weight_files import is_config

#: Numbers that the file holds beside the network. w2v-BERT 2.0, whole; a norm behind WavLM's last layer, never run.
BESIDE = {"xcodec2-original": 580_493_120, "focalcodec-50hz": 2 * 1024, "focalcodec-25hz": 2 * 1024}
UNITS = {"MB": 10**6, "GB": 10**9}


@pytest.mark.parametrize(
    "name",
    [
        "mimi",
        "mimi-moshi",
        "focalcodec-50hz",
        "focalcodec-25hz",
        "xcodec-hubert-librispeech",
        "xcodec-wavlm-mls",
        "xcodec-hubert-general",
        "xcodec-manel",
        "xcodec2-original",
        "dualcodec-25hz-noise-robust",
    ],
)
def test_published_file_is_as_large_as_the_network(name: str) -> None:
    c = card(name)
    theirs: dict = {}
    for file in c.files:
        if is_config(file):
            theirs |= published_config(c, file)[0] or {}
    if c.system == "xcodec" and not theirs:  # the YAML that the authors train with
        teacher = "wavlm_base_plus" if "wavlm" in name else "hubert_base"
        theirs = {"D": 256, "target_bandwidths": [0.5, 1, 1.5, 2, 4], "semantic_techer": teacher}
    numbers = written_numbers(c.system, theirs | c.config_overrides) + BESIDE.get(name, 0)
    weights = next(f for f in c.files if not is_config(f))
    size, unit = str(next(f["size"] for f in facts(c)["files"] if f["name"] == weights)).split()
    digits = len(size.partition(".")[2])
    assert round(4 * numbers / UNITS[unit], digits) == float(size)
