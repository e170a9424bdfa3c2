"""UniCodec: the authors' YAML."""

from typing import Any

import torch
from layout_options import DROP, Sweep

_ARGS: dict[str, Any] = {
    "feature_extractor": {
        "encodec_model": "encodec_24khz", "bandwidths": [6.6, 6.6, 6.6, 6.6], "train_codebooks": True, "num_quantizers": 1,
        "dowmsamples": [3, 2], "vq_bins": 32, "vq_kmeans": 200, "use_transformer": True, "mask": False,
    },
    "backbone": {"input_channels": 8, "dim": 32, "intermediate_dim": 16, "num_layers": 2, "adanorm_num_embeddings": 4},
    "head": {"dim": 32, "n_fft": 24, "hop_length": 6, "padding": "same"},
}  # fmt: skip
_FIXED = {"dimension": 8, "n_filters": 4, "heads": 2, "layers": 2, "context": 12, "ff": 12}
_RUN = {name: {"class_path": f"decoder.{name}", "init_args": args} for name, args in _ARGS.items()}


def _enliven(tok: Any) -> None:
    """The residual blocks are quiet as they start, and all latents alike."""
    with torch.no_grad():
        tok.quantizer.table.mul_(3)
        for block in tok.transformer.blocks:
            block.scale_attention.scale.fill_(1.0)


def _in(part: str, **changes: Any) -> dict[str, Any]:
    return {"model": {"init_args": {part: {"init_args": changes}}}}


def _published(state: dict[str, Any]) -> dict[str, Any]:
    """A Lightning checkpoint with what the authors build and do not use, and their discriminators."""
    more = {
        "feature_extractor.encodec.decoder.model.0.conv.conv.bias": torch.ones(2),
        "feature_extractor.encodec.encoder.mask_emb": torch.ones(8),
        "head.istft.window": torch.ones(24),
        "multiperioddisc.discriminators.0.convs.0.weight_g": torch.ones(2),
    }
    for i in range(2):
        layer = f"feature_extractor.encodec.encoder.transformer_enocoder.transformer.layers.{i}"
        more |= {f"{layer}.linear1.weight": torch.ones(2, 2), f"{layer}.linear2.weight": torch.ones(2, 2)}
        more[f"{layer}.layer_scale_2.scale"] = torch.ones(8)
    return {"state_dict": state | more, "epoch": 3}


SWEEPS = {
    "unicodec": Sweep(
        tiny={"model": {"class_path": "decoder.experiment", "init_args": {"sample_rate": 24000, **_RUN}}, "seed_everything": 3407}
        | {"hard_coded_overrides": _FIXED},
        enliven=_enliven,
        published=_published,
        options={
            "as it is": {},
            "its arguments alone": {"model": DROP, "seed_everything": DROP, **_ARGS},
            "masks in training": _in("feature_extractor", mask=True),
            "a larger table": _in("feature_extractor", vq_bins=64),
            "three levels": {
                "model": {"init_args": {
                    "feature_extractor": {"init_args": {"dowmsamples": [3, 2, 2]}},
                    "head": {"init_args": {"hop_length": 12, "n_fft": 48}},
                }},
            },
            "defaults": _in("feature_extractor", encodec_model=DROP, num_quantizers=DROP, vq_kmeans=DROP, mask=DROP),
            "one condition": _in("backbone", adanorm_num_embeddings=1),
            "no conditions": _in("backbone", adanorm_num_embeddings=None),
            "a layer scale": _in("backbone", layer_scale_init_value=0.3),
            "a deeper decoder": _in("backbone", num_layers=3, intermediate_dim=20),
            "a longer window": _in("head", n_fft=36),
            "another rate": {"model": {"init_args": {"sample_rate": 16000}}},
        },
        refused={
            "no transformer": (_in("feature_extractor", use_transformer=False), "use_transformer"),
            "several quantizers": (_in("feature_extractor", num_quantizers=2), "num_quantizers"),
            "a misspelt key": (_in("feature_extractor", downsamples=[3, 2]), "downsamples"),
        },
    ),
}  # fmt: skip
