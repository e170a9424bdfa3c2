"""What the layout of `mimo_audio` allows, for the tests over all layouts."""

from typing import Any

import torch
from layout_options import DROP, Sweep

_TINY = {
    "architectures": ["MiMoAudioTokenizer"], "d_model": 8, "avg_pooler": 2, "n_mels": 6, "nfft": 40,
    "window_size": 40, "hop_length": 10,
    "encoder_layers": 3, "encoder_attention_heads": 2, "encoder_ffn_dim": 8, "encoder_skip_layer_id": 1,
    "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 8,
    "vocoder_dim": 8, "vocoder_attention_heads": 2, "vocoder_intermediate_dim": 8, "vocoder_num_layers": 1,
    "vocoder_attn_window_size": [4, 2], "num_quantizers": 3, "codebook_size": [16, 16, 8],
}  # fmt: skip


def _spread(tok: Any) -> None:
    """Tables of the size of the latents, which a norm gives."""
    with torch.no_grad():
        for level in tok.quantizer.levels:
            level.codebook.embed.mul_(3)


SWEEPS = {
    "mimo-audio": Sweep(
        tiny=_TINY,
        options={
            "as it is": {},
            "no pooling": {"avg_pooler": 1},
            "pooling by three": {"avg_pooler": 3},
            "stride three": {"stride_size": 3, "decoder_stride_size": 3},
            "no skip": {"encoder_skip_layer_id": None},
            "skip from the last": {"encoder_skip_layer_id": 3},
            "causal encoder": {"encoder_causal": True},
            "windows": {"encoder_attn_window_size": [3, 1], "decoder_attn_window_size": [5, 7]},
            "decoder that looks ahead": {"decoder_causal": False},
            "default window of the vocoder": {"vocoder_attn_window_size": DROP},
            "RMS norms": {"ln_type": "RMSNorm"},
            "other rotary angles": {"rope_theta": 1000},
            "the last size is repeated": {"codebook_size": [16, 8], "num_quantizers": 4},
            "one size": {"codebook_size": 16},
            "default size": {"codebook_size": DROP, "num_quantizers": 1},
            "bands between": {"fmin": 50, "fmax": 8000},
            "a window shorter than the transform": {"window_size": 30},
            "a longer kernel": {"decoder_kernel_size": 4},
        },
        refused={
            "MiMo-V2.5's": ({"hybrid_attention": True}, "newer tokenizer"),
            "its decoder": ({"use_istft_only": True}, "newer tokenizer"),
            "other rotary positions": ({"rope_type": "yarn"}, "rope_type"),
            "another decoder's rate": ({"decoder_stride_size": 4}, "decoder_stride_size"),
            "no quantizer": ({"num_quantizers": 0}, "without a quantizer"),
            "a skip from nowhere": ({"encoder_skip_layer_id": 4}, "3 layers"),
            "another norm": ({"ln_type": "BatchNorm"}, "ln_type"),
            "a window of one number": ({"decoder_attn_window_size": [3]}, "two numbers"),
            "a short kernel": ({"decoder_kernel_size": 1}, "decoder_kernel"),
        },
        enliven=_spread,
    )
}
