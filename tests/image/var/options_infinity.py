"""Infinity's tokenizer; a published file holds several state dicts and integer counters."""

import torch
from layout_options import DROP, Sweep


def _published(state: dict) -> dict:
    buffers = {f"{name}.lfq.mask": 2 ** torch.arange(8) for name in ("quantizer", "quantize")}
    return {
        "vae": {**state, **buffers},
        "ema": {k: torch.randn_like(v) for k, v in state.items()},
        "image_disc": {"main.0.weight": torch.randn(4, 3, 4, 4), "main.1.num_batches_tracked": torch.tensor(7)},
        "optimizer": {"state": {}, "param_groups": [{"lr": 1e-4, "params": [0, 1]}]},
        "step": 100000,
    }


_SCALES = [[1, 1, 1], [1, 2, 2], [1, 4, 4]]

SWEEPS = {
    "infinity-vae": Sweep(
        tiny={
            "base_ch": 32, "num_res_blocks": 1, "encoder_ch_mult": [1, 2], "decoder_ch_mult": [1, 2], "patch_size": 2,
            "codebook_dim": 8, "scale_schedule": _SCALES, "image_size": [8, 8],
        },
        options={
            "as it is": {},
            "16 bits": {"codebook_dim": 16},
            "24 bits, two ids a position": {"codebook_dim": 24},
            "wide pictures": {"scale_schedule": [[1, 1, 1], [1, 2, 4]], "image_size": [4, 8]},
            "one scale": {"scale_schedule": [[1, 4, 4]]},
            "two blocks": {"num_res_blocks": 2},
            "a decoder of its own": {"decoder_ch_mult": [2, 1]},
            "patches of 4": {"patch_size": 4, "encoder_ch_mult": [1, 1, 1], "decoder_ch_mult": [1, 1, 1], "image_size": [16, 16]},
            "more levels than halvings": {"encoder_ch_mult": [1, 1, 2], "decoder_ch_mult": [1, 1, 2]},
            "pixel shuffle": {"use_pxsf": True},
            "groups of 24": {"base_ch": 24},
            "losses": {"entropy_loss_weight": 0.2, "commitment_loss_weight": 0.1, "diversity_gamma": 2},
            "what its script passes": {
                "quantizer_type": "MultiScaleBSQ", "schedule_mode": "dynamic", "test_mode": True, "codebook_size": 256,
                "new_quant": True, "norm_type": "group", "cnn_type": "2d", "cnn_attention": "no", "use_vae": False,
            },
            "default losses": {"entropy_loss_weight": DROP},
        },
        refused={
            "a misspelt key": ({"base_channels": 32}, "base_ch"),
            "frequencies": ({"use_freq_dec": True}, "use_freq_dec"),
            "films": ({"scale_schedule": [[1, 1, 1], [2, 4, 4]]}, "scale_schedule"),
            "a size that the scales do not give": ({"image_size": [16, 16]}, "image_size"),
        },
        published=_published,
    ),
}  # fmt: skip
