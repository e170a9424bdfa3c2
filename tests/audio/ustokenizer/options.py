"""USTokenizer: the authors' YAML, its part `model`, or `codec_config` alone; Whisper's encoder beside it or not."""

from typing import Any

import torch
from layout_options import DROP, Sweep

_WHISPER = {
    "model_type": "whisper", "d_model": 8, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 8, "decoder_layers": 1,
    "decoder_attention_heads": 2, "decoder_ffn_dim": 8, "num_mel_bins": 4, "max_source_positions": 20, "vocab_size": 10,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1, "max_target_positions": 8,
}  # fmt: skip

_CODEC = {
    "input_channels": 8, "output_channels": 8, "encode_channels": 6, "decode_channels": 4, "code_dim": 8, "codebook_num": 1,
    "codebook_size": 16, "bias": True, "enc_ratios": [1, 1], "dec_ratios": [1, 1], "enc_strides": [1, 1], "dec_strides": [1, 1],
    "enc_kernel_size": 3, "dec_kernel_size": 3, "enc_block_dilations": [1, 1], "enc_block_kernel_size": 3,
    "dec_block_dilations": [1, 1], "dec_block_kernel_size": 3,
}  # fmt: skip


def _published(state: dict[str, Any]) -> dict[str, Any]:
    """In a checkpoint of the training: the language model beside it, Whisper's encoder frozen inside; latents made louder."""
    noise = torch.randn(3, 3, generator=torch.Generator().manual_seed(2))
    head = "speech_llama_conv_proj.conv.weight"
    extra = {head: 30 * state[head], "llama_model.base.layers.0.weight": noise, "llama_linear.bias": noise[0]}
    return {"model": {"speech_encoder.layer_norm.weight": noise[0]} | state | extra, "epoch": 3}


SWEEPS = {
    "ustokenizer": Sweep(
        tiny={
            "codec_config": _CODEC, "freeze_whisper": True, "llama_path": "", "whisper_path": "", "lora": True, "lora_rank": 8,
        },
        options={
            "as it is": {},
            "the part of the YAML": {"codec_config": DROP, "freeze_whisper": DROP, "llama_path": DROP, "whisper_path": DROP,
                                     "lora": DROP, "lora_rank": DROP, "model": {"codec_config": _CODEC, "lora": False}},
            "the codec alone": {"codec_config": DROP, "freeze_whisper": DROP, "llama_path": DROP, "whisper_path": DROP,
                                "lora": DROP, "lora_rank": DROP, **_CODEC},
            "Whisper in the file": {"whisper": _WHISPER},
            "no biases": {"codec_config": {"bias": False}},
            "several codebooks": {"codec_config": {"codebook_num": 3}},
            "other widths": {"codec_config": {"encode_channels": 8, "enc_ratios": [1, 1.5], "dec_ratios": [1.5, 1]}},
            "one level": {"codec_config": {"enc_ratios": [1], "enc_strides": [1], "dec_ratios": [1], "dec_strides": [1]}},
            "other kernels": {"codec_config": {"enc_kernel_size": 5, "dec_kernel_size": 5, "enc_block_kernel_size": 5}},
            "other dilations": {"codec_config": {"enc_block_dilations": [1, 2, 4], "dec_block_dilations": [1]}},
            "default convolutions": {"codec_config": {k: DROP for k in _CODEC if k.startswith(("enc_", "dec_")) or k == "bias"}},
            "prompts": {"prompt_path": "a", "test_prompt_path": "b", "multi_prompt": True, "max_txt_len": 3, "end_sym": "</s>"},
            "wide codes": {"codec_config": {"code_dim": 12}},
        },
        refused={
            "another width out": ({"codec_config": {"output_channels": 4}}, "output_channels"),
            "strides within": ({"codec_config": {"enc_strides": [2, 1]}}, "strides"),
            "an unknown key": ({"codec_config": {"codebooks": 4}}, "codebooks"),
        },
        published=_published,
    ),
}  # fmt: skip
