"""Files of published audio weights are as large as what the layouts write for their configs: shapes proved without a weight.

    pytest tests/audio/test_published_sizes.py
"""

from typing import Any

import pytest
from published_sizes import written_numbers
from tokenzoo.zoo.registry import card

_DAC = {"encoder_hidden_size": 64, "decoder_hidden_size": 1536, "codebook_size": 1024, "codebook_dim": 8, "hidden_size": 1024}
_DAC_SMALL = _DAC | {"downsampling_ratios": [2, 4, 5, 8], "upsampling_ratios": [8, 5, 4, 2], "hop_length": 512}
_SNAC = {
    "encoder_dim": 64, "encoder_rates": [2, 3, 8, 8], "decoder_dim": 1536, "decoder_rates": [8, 8, 3, 2], "attn_window_size": 32,
    "codebook_size": 4096, "codebook_dim": 8, "vq_strides": [8, 4, 2, 1], "noise": True, "depthwise": True,
}  # fmt: skip
_SPEECHTOKENIZER = {
    "n_filters": 64, "strides": [8, 5, 4, 2], "dimension": 1024, "semantic_dimension": 768, "bidirectional": True, "dilation_base": 2,
    "residual_kernel_size": 3, "n_residual_layers": 1, "lstm_layers": 2, "activation": "ELU", "sample_rate": 16000,
    "codebook_size": 1024, "n_q": 8,
}  # fmt: skip

#: Name, what the published config says of shapes, bytes of the file (three digits where the page rounds), tolerance.
SIZES = [
    ("encodec-24khz", {}, 93.1e6, 6e-4),
    ("encodec-32khz", {
        "num_filters": 64, "upsampling_ratios": [8, 5, 4, 4], "codebook_size": 2048, "target_bandwidths": [2.2], "sampling_rate": 32000,
        "use_causal_conv": False, "use_conv_shortcut": False,
    }, 236e6, 2.5e-3),
    ("dac-44khz", _DAC | {"n_codebooks": 9}, 307e6, 2.5e-3),
    ("dac-24khz", _DAC_SMALL | {"n_codebooks": 32}, 299e6, 2.5e-3),
    ("dac-44khz-16kbps", {}, 256_984_809, 1e-3),
    ("snac-24khz", _SNAC | {
        "encoder_dim": 48, "encoder_rates": [2, 4, 8, 8], "decoder_dim": 1024, "decoder_rates": [8, 8, 4, 2], "attn_window_size": None,
        "vq_strides": [4, 2, 1],
    }, 79.5e6, 2.5e-3),
    ("snac-32khz", _SNAC, 218e6, 2.5e-3),
    ("snac-44khz", _SNAC, 218_308_802, 1e-3),
    ("speechtokenizer", _SPEECHTOKENIZER, 481_906_997, 2e-4),
    ("speechtokenizer-snake", _SPEECHTOKENIZER | {"activation": "Snake"}, 482e6, 1.5e-3),
    ("bigcodec", {}, 638e6, 1e-3),
    ("hificodec-16khz-320", {}, 242 * 2**20, 5e-3),  # "~242 MB" by a tool that counts in powers of two
]  # fmt: skip


@pytest.mark.parametrize(("name", "config", "size", "tolerance"), SIZES, ids=[s[0] for s in SIZES])
def test_size_of_the_published_file(name: str, config: dict[str, Any], size: float, tolerance: float) -> None:
    entry = card(name)
    assert 4 * written_numbers(entry.system, config | entry.config_overrides) == pytest.approx(size, rel=tolerance)
