"""The priors that ship beside the checkpoints. Run: pytest tests/zoo/test_priors.py"""

from pathlib import Path

import numpy as np
import pytest
import tokenzoo
import torch
from tokenzoo import Tokens
from tokenzoo.codecs.token_file import from_bytes, to_bytes
from tokenzoo.zoo.evaluate import evaluate
from tokenzoo.zoo.priors import prior_of_maker, shipped_prior

pytest.importorskip("constriction")
ROOT = Path(tokenzoo.__file__).parent
#: What the prior of photo-f16-rvq7 codes made-up ids to.
CODED = (
    "f18faedbc8b2d366a1d8a3b6a47c280a8197256ab248abd3ff86681e874a05d8f5fd96cc71a21a2c7fd593a402ebe518df59"
    "51c6da5e176b401bee5857bb25c550382c59a6f32ea2a445bcf6bb5f39ccfc45a117e4286572aa0fadc7dbc0fab9e53b8769"
    "74fcc339542d0285836d2d0813a51834"
)
MEDIA = {"photo-f16-rvq7": "chelsea.png", "speech-16khz-4kbps": "speech.flac"}


@pytest.mark.parametrize("name", MEDIA)
def test_each_checkpoint_has_its_own(name):
    prior = shipped_prior(checkpoint=name)
    assert prior is not None and prior.name == name and prior is shipped_prior(fingerprint=prior.fingerprint)
    assert prior is prior_of_maker(tokenzoo.load(name).identity), "fitted to the tokens of these weights"
    assert (ROOT / "zoo" / "checkpoints" / name / "tokens.prior").stat().st_size < 1_000_000


def test_no_other_is_taken_for_one():
    assert shipped_prior(checkpoint="encodec-24khz") is None and shipped_prior(fingerprint="0" * 32) is None
    assert prior_of_maker(None) is None


@pytest.mark.parametrize("name", MEDIA)
def test_files_need_nothing_but_the_package(name, tmp_path):
    tokens = tokenzoo.load(name).encode(ROOT / "zoo" / "demo" / "media" / MEDIA[name])
    tokens = tokens.first(codebooks=2)
    tokens.save(tmp_path / "coded.tok", prior=name)
    tokens.save(tmp_path / "plain.tok")
    assert Tokens.load(tmp_path / "coded.tok") == tokens
    assert (tmp_path / "coded.tok").stat().st_size < 0.95 * (tmp_path / "plain.tok").stat().st_size


def test_the_shipped_prior_codes_the_same_bytes_everywhere():
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, 1024, (1, 7, 12)))
    data = to_bytes(Tokens(ids, (1024,) * 7, grid=(3, 4)), "photo-f16-rvq7")
    payload = data[18 + int.from_bytes(data[10:14], "little") :]
    assert payload.hex() == CODED
    assert from_bytes(data).ids.equal(ids)


@pytest.mark.slow
def test_rates_of_coded_ids(tmp_path):
    """`eval` and `bench` show both rates where a tokenizer has a prior."""
    from PIL import Image

    Image.open(ROOT / "zoo" / "demo" / "media" / "chelsea.png").crop((0, 0, 128, 128)).save(tmp_path / "a.png")
    figures = evaluate(tokenzoo.load("photo-f16-rvq7"), tmp_path).as_json()["rate"]
    assert 0.5 < figures["bits a pixel, coded"]["value"] / figures["bits a pixel"]["value"] < 1
    assert figures["bits a pixel, coded"]["better"] == "lower"
