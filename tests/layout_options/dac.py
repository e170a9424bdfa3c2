"""DAC in both layouts, and SNAC."""

from . import DROP, Sweep

_PUBLISHED_HF = {
    "_name_or_path": "", "architectures": ["DacModel"], "codebook_dim": 4, "codebook_loss_weight": 1.0, "codebook_size": 32,
    "commitment_loss_weight": 0.25, "decoder_hidden_size": 16, "downsampling_ratios": [2, 3], "encoder_hidden_size": 4,
    "hidden_size": 16, "hop_length": 512, "model_type": "dac", "n_codebooks": 3, "quantizer_dropout": 0, "sampling_rate": 16000,
    "torch_dtype": "float32", "transformers_version": "4.45.0.dev0", "upsampling_ratios": [3, 2],
}  # fmt: skip

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
            "widths of codes as a list": {"codebook_dim": [4, 4, 4]},
            "wide decoder": {"decoder_dim": 48},
            "wide encoder": {"encoder_dim": 8},
            "default codebooks": {"n_codebooks": DROP, "codebook_size": 16},
        },
        refused={"a misspelt key": ({"encoder_ratez": [2]}, "encoder_rates")},
        published=lambda state: {"state_dict": state, "metadata": {"kwargs": {}}},
    ),
}  # fmt: skip
