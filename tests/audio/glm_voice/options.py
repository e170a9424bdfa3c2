"""What the layout of `glm_voice` allows, for the tests over all layouts."""

from typing import Any

import torch
from layout_options import Sweep
from tokenzoo.codecs.layouts.systems import converter

#: As published, but small; behind the pooling, the 16 layers of the whole Whisper, and its decoder, nothing is read.
_TINY = {
    "architectures": ["WhisperVQEncoder"], "d_model": 8, "encoder_layers": 3, "encoder_attention_heads": 2, "encoder_ffn_dim": 12,
    "num_mel_bins": 8, "max_source_positions": 1500, "pooling_kernel_size": 4, "pooling_type": "avg", "pooling_position": 2,
    "quantize_position": 2, "quantize_vocab_size": 24, "quantize_causal_block_size": 8, "encoder_causal_convolution": True,
    "encoder_causal_attention": False, "quantize_causal_encoder": False,
}  # fmt: skip


def _spread(tok: Any) -> None:
    """Code vectors among the hidden states."""
    with torch.no_grad():
        states = tok.encode_latents(torch.randn(1, 1, 16000, generator=torch.Generator().manual_seed(0)))[0].t()
        tok.quantizer.codebook.embed.copy_(states[torch.arange(len(tok.quantizer.codebook.embed)) % len(states)])


def _write(tok: Any) -> dict[str, Any]:
    """Their state dict behind the prefix that the card removes."""
    state = converter("glm-4-voice").write(tok.state_dict(), tok.config)
    return {k.removeprefix("model.encoder."): v for k, v in state.items()}


def _whole_whisper(state: dict[str, Any]) -> dict[str, Any]:
    """With the prefix and all that the published file holds besides."""
    own = {f"model.encoder.{k}": v for k, v in state.items()}
    later = {k.replace("layers.0.", "layers.2."): v for k, v in own.items() if "layers.0." in k}
    width = own["model.encoder.conv1.bias"].shape[0]
    rest = dict.fromkeys(("encoder.layer_norm.weight", "encoder.layer_norm.bias", "decoder.layer_norm.weight"), torch.ones(width))
    rest |= {"encoder.ema_count": torch.ones(24), "encoder.ema_weight": torch.ones(24, width)}
    rest |= {"encoder.embed_positions2.weight": torch.ones(375, width), "decoder.layers.0.fc1.weight": torch.ones(4, width)}
    return own | later | {f"model.{k}": v for k, v in rest.items()} | {"proj_out.weight": torch.ones(3, width)}


SWEEPS = {
    "glm-4-voice": Sweep(
        tiny=_TINY,
        options={
            "as it is": {},
            "pooled in between": {"pooling_position": 1},
            "largest values": {"pooling_type": "max", "pooling_kernel_size": 2},
            "no pooling": {"pooling_kernel_size": None},
            "pooling at no layer": {"pooling_position": 0},
            "three layers": {"quantize_position": 3},
            "attention to everything": {"quantize_causal_block_size": None},
            "causal attention": {"encoder_causal_attention": True},
            "causal in front of the quantizer": {"quantize_causal_encoder": True, "quantize_causal_block_size": None},
            "convolutions with both neighbours": {"encoder_causal_convolution": False},
            "another kernel": {"attn_implementation": "sdpa"},
            "large blocks": {"quantize_causal_block_size": 200, "pooling_position": 1},
            "trained by gradient": {"quantize_ema_decay": None},
            "more bands": {"num_mel_bins": 128},
            "a longer table": {"max_source_positions": 1504},
            "a shorter table": {"max_source_positions": 60},
        },
        refused={
            "a Whisper": ({"quantize_vocab_size": None}, "without a quantizer"),
            "pooling behind the quantizer": ({"pooling_position": 3}, "behind the quantizer"),
            "another pooling": ({"pooling_type": "sum"}, "pooling_type"),
            "another activation": ({"activation_function": "relu"}, "activation_function"),
            "no width": ({"d_model": 0}, "width is 0"),
            "no heads": ({"encoder_attention_heads": 3}, "3 heads"),
            "blocks of nothing": ({"quantize_causal_block_size": 2, "pooling_position": 1}, "nothing would be left"),
        },
        enliven=_spread,
        write=_write,
        published=_whole_whisper,
        shape=(1, 16000),
    )
}
