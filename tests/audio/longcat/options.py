"""LongCat-Audio-Codec: encoder with its speech tokenizer, statistics of mel bands, either decoder."""

from typing import Any

import torch
from layout_options import DROP, Sweep

_CMVN = "enc.semantic_tokenizer.feature_extractor.cmvn."


def _published(state: dict[str, Any]) -> dict[str, Any]:
    """As three files: sums in place of mean and deviation, the extractor's tables, a level and a layer more than are read."""
    out, levels = dict(state), "enc.acoustic_quantizer.quantizers."
    more = {k.replace(f"{levels}0.", f"{levels}7."): v for k, v in state.items() if k.startswith(f"{levels}0.")}
    if _CMVN + "cmvn_mean" in out:
        mean, scale, count = out.pop(_CMVN + "cmvn_mean").double(), out.pop(_CMVN + "cmvn_scale").double(), 50.0
        squares = count * (scale**-2 + mean**2)
        sums = torch.stack([torch.cat([count * mean, mean.new_tensor([count])]), torch.cat([squares, mean.new_zeros(1)])])
        speech = "enc.semantic_tokenizer."
        layer = {k.replace("layers.0.", "layers.9."): v for k, v in state.items() if k.startswith(speech + "model.encoder.layers.0.")}
        bank = speech + "feature_extractor.fbank."
        more |= layer | {"cmvn": sums, bank + "window": torch.ones(16), bank + "mel_banks": torch.ones(9, 6)}
    else:
        more |= {"enc.semantic_tokenizer.kmeans.codebook": torch.ones(4, 4), "cmvn": torch.ones(2, 7)}
    return out | more


_VGG = {
    "feat_dim": 6, "delta_order": 0, "left": 0, "right": 0, "stride": 1, "subsampling": "conv2d", "num_conv_layers": 2,
    "conv2d_stride": "2,3", "d_model": 8, "nhead": 2, "num_encoder_layers": 2, "dim_feedforward": 8, "dropout": 0.0, "layer_drop": 0.0,
    "activation": "gelu",
}  # fmt: skip


def _vgg(**changes: Any) -> dict[str, Any]:
    return {"encoder": {"VGGtf_encoder": changes}}


SWEEPS = {
    "longcat-audio-codec": Sweep(
        tiny={
            "acoustic_encoder": {
                "input_sample_rate": 16000, "encoder_dim": 2, "encoder_rates": [6, 8], "latent_dim": 8, "n_codebooks": 2,
                "codebook_size": 5, "codebook_dim": 4, "semantic_tokenizer_type": "LongCatAudioCodec_semantic_tokenizer",
            },
            "decoder": {
                "latent_dim": 8, "decoder_dim": 8, "decoder_rates": [8, 6], "semantic_dim": 6, "decoder_type": "16k", "n_codebooks": 2,
                "codebook_size": 5, "codebook_dim": 4, "semantic_token_nums": 20,
            },
            "semantic_tokenizer": {
                "select_layer": 2, "codebook_dim": 8, "codebook_size": 20, "sample_rate": 16000,
                "feature": {
                    "cmvn_file": "ckpts/LongCatAudioCodec_encoder_cmvn.npy",
                    "fbank": {
                        "dither": 0.0, "frame_length": 1, "frame_shift": 0.5, "preemphasis": 0.97, "freq": 16000, "high_freq": -200,
                        "low_freq": 40, "num_mel_bins": 6,
                    },
                },
                "encoder": {"type": "VGGtf_encoder", "VGGtf_encoder": _VGG},
            },
        },
        options={
            "as it is": {},
            "24 kHz": {"decoder": {"decoder_type": "24k", "decoder_rates": [9, 8]}},
            "24 kHz, one acoustic codebook": {"decoder": {"decoder_type": "24k", "decoder_rates": [9, 8], "n_codebooks": 1}},
            "24 kHz, strides that change the length": {"decoder": {"decoder_type": "24k", "decoder_rates": [5, 4]}},
            "16 kHz, strides that change the length": {"decoder": {"decoder_rates": [3, 7]}},
            "a width that does not halve": {"decoder": {"decoder_dim": 11}},
            "three levels on either side": {
                "acoustic_encoder": {"encoder_rates": [2, 3, 8], "latent_dim": 16},
                "decoder": {"decoder_rates": [8, 3, 2], "latent_dim": 16},
            },
            "latents that are not the encoder's width": {"acoustic_encoder": {"latent_dim": 6}, "decoder": {"latent_dim": 6}},
            "the encoder's width by default": {"acoustic_encoder": {"latent_dim": DROP}},
            "a width of codes for each level": {
                "acoustic_encoder": {"codebook_dim": [2, 3]}, "decoder": {"codebook_dim": [2, 3]},
            },
            "default widths of codes": {"acoustic_encoder": {"codebook_dim": DROP}, "decoder": {"codebook_dim": DROP}},
            "the first layer": {"semantic_tokenizer": {"select_layer": 1}},
            "the last layer": {"semantic_tokenizer": {"select_layer": None}},
            "one convolution": {"semantic_tokenizer": _vgg(num_conv_layers=1, conv2d_stride="6")},
            "other strides": {"semantic_tokenizer": _vgg(conv2d_stride="3,2")},
            "more heads and width": {"semantic_tokenizer": {"codebook_dim": 16} | _vgg(nhead=4, d_model=16, dim_feedforward=12)},
            "another filter bank": {
                "semantic_tokenizer": {
                    "feature": {"fbank": {"low_freq": 20, "high_freq": 7000, "num_mel_bins": 8, "preemphasis": 0.9}},
                } | _vgg(feat_dim=8)
            },
        },
        refused={
            "other latents in the decoder": ({"decoder": {"latent_dim": 10}}, "latent_dim"),
            "another decoder": ({"decoder": {"decoder_type": "48k"}}, "decoder_type"),
            "no acoustic codebooks": ({"decoder": {"codebook_size": 0}}, "codebook_size"),
            "noise in the filter bank": ({"semantic_tokenizer": {"feature": {"fbank": {"dither": 1.0}}}}, "dither"),
            "another speech tokenizer": ({"semantic_tokenizer": {"encoder": {"type": "conformer"}}}, "type"),
            "another number of semantic ids": ({"semantic_tokenizer": {"codebook_size": 21}}, "codebook_size"),
            "an unknown key": ({"decoder": {"rates": [2]}}, "rates"),
        },
        published=_published,
    ),
}  # fmt: skip
