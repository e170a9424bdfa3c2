"""Codecs configured here, in this library's own short forms, written in the layouts of other libraries and loaded again.

    pytest tests/zoo/test_trained_here.py
"""

from pathlib import Path
from typing import Any

import pytest
import tokenzoo
import torch
from audio_cases import noise
from lively_audio import lively
from tokenzoo.codecs.families import build_tokenizer

RVQ = {"kind": "residual_vq", "num_codebooks": 3, "codebook_size": 16, "replace_below": 0.1, "dropout": 0.5}
FACTORISED = RVQ | {"codebook_dim": 4, "normalize": True, "update": "gradient"}
SMALL = {"strides": [2, 3], "encoder_width": 4, "decoder_width": 16}
SEANET = {"latent_dim": 8, "width": 4, "strides": [2, 3]}

CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("dac", "dac", SMALL | {"quantizer": FACTORISED}),
    ("dac", "dac", SMALL | {"quantizer": FACTORISED | {"codebook_dim": [4, 2, 3]}}),
    ("dac", "dac-hf", SMALL | {"quantizer": FACTORISED}),
    ("dac", "dac-hf", SMALL | {"quantizer": FACTORISED, "fill": 10, "latent_dim": 16}),
    ("snac", "snac", SMALL | {"quantizer": FACTORISED | {"strides": [4, 2, 1]}}),
    ("snac", "snac", SMALL | {"quantizer": FACTORISED}),
    ("encodec", "encodec-hf", {
        "sample_rate_hz": 6000, "bandwidths_kbps": [12.0], "encoder": SEANET | {"causal": True}, "quantizer": RVQ,
    }),
    ("wavtokenizer", "wavtokenizer-hf", {
        "encoder": SEANET, "quantizer": {"kind": "vq", "codebook_size": 16}, "width": 32, "hidden": 16, "blocks": 1,
        "window_samples": 24,
    }),
]  # fmt: skip


@pytest.mark.parametrize(("family", "layout", "config"), CASES, ids=[f"{c[1]}-{i}" for i, c in enumerate(CASES)])
@torch.no_grad()
def test_short_forms_and_training_settings_do_not_matter(family: str, layout: str, config: dict, tmp_path: Path) -> None:
    tok = lively(build_tokenizer(family, config))
    tokenzoo.save_pretrained(tok, tmp_path / "any name", layout=layout)
    again = tokenzoo.load(f"file:{tmp_path / 'any name'}")
    x = noise(2, 1, 61)
    assert again.layout == layout
    assert torch.equal(again.encode(x).ids, tok.encode(x).ids)
    assert len(tok.encode(x).ids.unique()) > 2
