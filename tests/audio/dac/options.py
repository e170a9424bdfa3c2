"""DAC in both layouts."""

from typing import Any

from layout_options import DROP, Sweep
from lively_audio import lively, twin
from peers import Peer
from torch.nn import functional as F


def _descript(theirs: dict[str, Any]) -> Peer | None:
    """The class of the package descript-audio-codec, with the padding that its `compress` does."""
    try:
        from dac import DAC
    except ImportError:
        return None
    return twin("dac", theirs, DAC(**theirs), lambda m, x: m.encode(m.preprocess(x, m.sample_rate))[1])


def _transformers(theirs: dict[str, Any]) -> Peer | None:
    """`DacModel`, with the padding that `pad_to_samples` stands for."""
    try:
        from transformers import DacConfig, DacModel
    except ImportError:
        return None
    multiple = theirs.get("pad_to_samples", 1)
    module = DacModel(DacConfig(**theirs | {"quantizer_dropout": float(theirs["quantizer_dropout"])}))
    return twin("dac-hf", theirs, module, lambda m, x: m.encode(F.pad(x, (0, -x.shape[-1] % multiple))).audio_codes)


SWEEPS = {
    "dac": Sweep(
        tiny={
            "encoder_dim": 4, "encoder_rates": [2, 3], "latent_dim": None, "decoder_dim": 16, "decoder_rates": [3, 2],
            "n_codebooks": 3, "codebook_size": 32, "codebook_dim": 4, "quantizer_dropout": False, "sample_rate": 16000,
        },
        options={
            "as it is": {},
            "a latent width": {"latent_dim": 10},
            "three levels": {"encoder_rates": [2, 2, 3], "decoder_rates": [3, 2, 2]},
            "other rates down and up": {"encoder_rates": [2, 6], "decoder_rates": [4, 3]},
            "one codebook": {"n_codebooks": 1},
            "dropout of codebooks": {"quantizer_dropout": 0.5},
            "44.1 kHz by default": {"sample_rate": DROP},
            "default width of codes": {"codebook_dim": DROP},
            "one width of codes as a list": {"codebook_dim": [4, 4, 4]},
            "a width of codes each": {"codebook_dim": [8, 3, 5]},
            "wide decoder": {"decoder_dim": 48},
            "wide encoder": {"encoder_dim": 8},
            "default codebooks": {"n_codebooks": DROP, "codebook_size": 16},
            "no latent width": {"latent_dim": DROP},
        },
        refused={
            "a misspelt key": ({"encoder_ratez": [2]}, "encoder_rates"),
            "too few widths": ({"codebook_dim": [8, 3]}, "codebook_dim"),
            "another hop in the decoder": ({"decoder_rates": [3, 3]}, "hops"),
        },
        enliven=lively,
        published=lambda state: {"state_dict": state, "metadata": {"kwargs": {"encoder_dim": 4}, "intern": ["dac.**"]}},
        peer=_descript,
    ),
    "dac-hf": Sweep(
        tiny={
            "architectures": ["DacModel"], "codebook_dim": 4, "codebook_loss_weight": 1.0, "codebook_size": 32,
            "commitment_loss_weight": 0.25, "decoder_hidden_size": 16, "downsampling_ratios": [2, 3], "encoder_hidden_size": 4,
            "hidden_size": 16, "hop_length": 512, "model_type": "dac", "n_codebooks": 3, "quantizer_dropout": 0.0,
            "sampling_rate": 16000, "torch_dtype": "float32", "transformers_version": "4.42.0.dev0", "upsampling_ratios": [3, 2],
        },
        options={
            "as it is": {},
            "filled up to whole frames": {"pad_to_samples": 6},
            "filled up to something else": {"pad_to_samples": 10},
            "no derived keys": {"hidden_size": DROP, "hop_length": DROP, "upsampling_ratios": DROP},
            "as a copy on the hub has it": {"_attn_implementation_autoset": True, "_name_or_path": "x", "dtype": "float32"},
            "three levels": {"downsampling_ratios": [2, 2, 3], "upsampling_ratios": [3, 2, 2], "hidden_size": 32},
            "a latent width": {"hidden_size": 10},
            "other rates down and up": {"downsampling_ratios": [2, 6], "upsampling_ratios": [4, 3]},
            "one codebook": {"n_codebooks": 1},
            "default number of codebooks": {"n_codebooks": DROP},
            "default width of codes": {"codebook_dim": DROP},
            "default rate": {"sampling_rate": DROP},
            "dropout as a truth value": {"quantizer_dropout": False},
            "dropout of codebooks": {"quantizer_dropout": 0.5},
            "other weights of losses": {"codebook_loss_weight": 2.0, "commitment_loss_weight": 1.0},
            "default weights of losses": {"codebook_loss_weight": DROP, "commitment_loss_weight": DROP},
            "wide sides": {"encoder_hidden_size": 6, "decoder_hidden_size": 32, "hidden_size": 24},
        },
        refused={"another hop in the decoder": ({"upsampling_ratios": [3, 3]}, "hops")},
        enliven=lively,
        peer=_transformers,
    ),
}  # fmt: skip
