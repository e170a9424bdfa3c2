"""TA-Tok against the authors' outputs. Run: pytest tests/image/ta_tok/test_ta_tok.py"""

import json

import pytest
import torch
from PIL import Image
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.serialize import CheckpointError
from tokenzoo.codecs.tokenizer import NotDecodable
from tokenzoo.zoo.convert import convert, load_reference
from torch.testing import assert_close

CLOSE = {"atol": 2e-5, "rtol": 1e-4}


@pytest.fixture(scope="module")
def folder():
    return reference_folder("image", "ta-tok")


@pytest.fixture(scope="module")
def tok(folder):
    return load_reference(folder)


@pytest.mark.parametrize(("case", "medium", "pool"), [("pool1.", "", 1), ("pool3.", "", 3), ("big.pool1.", "big.", None)])
def test_reference(folder, tok, case, medium, pool):
    """Two poolings, and a larger picture that is resized as the authors' class does."""
    io = load_io(folder)
    x, close = io[medium + "input"], CLOSE
    tokens = tok.encode(x, pool=pool)
    assert torch.equal(tokens.ids[:, 0], io[case + "ids"]) and torch.equal(tok.encode(x[1], pool=pool).ids, tokens.ids[1:])
    side = 9 // (pool or 1)
    assert tokens.grid == (side, side)
    if not medium:
        assert_close(tok.encode_latents(x, pool=pool), io[case + "latent"].transpose(1, 2), **close)
        assert_close(tok.to_features(tok.features(x, pool=pool)), io[case + "features"], **close)
    z_q = tok.quantizer.decode(tokens.ids)
    assert_close(z_q, io[case + "quantized_from_ids"].transpose(1, 2), **close)
    assert_close(tok.from_code(z_q.transpose(1, 2)), io[case + "encoded"], **close)
    assert_close(tok.semantic(tokens), io[case + "decoded_features"].transpose(1, 2), **close)
    assert_close(tok.quantizer.codes(), io["codebook"], **close)


def test_bytes_lie_in_0_to_1(folder, tok):
    x = (load_io(folder)["input"] * 255).round().to(torch.uint8)
    picture = Image.fromarray(x[0].permute(1, 2, 0).numpy())
    assert torch.equal(tok.encode(picture).ids, tok.encode(x[:1].float() / 255).ids)


def test_it_only_encodes(folder, tok):
    tokens = tok.encode(load_io(folder)["input"])
    with pytest.raises(NotDecodable, match="only encodes"):
        tok.decode(tokens)
    with pytest.raises(ConfigError, match="pool is 10"):
        tok.encode(load_io(folder)["input"], pool=10)


def test_the_arguments_in_the_file_win(folder):
    """The published file holds its class's arguments; a card's are those of the README."""
    config, state = json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")
    names = ("bottleneck", "input_size", "decoder_depth", "teacher_config", "decoder_config")
    file = {"model": {"args": {k: config[k] for k in names}, "sd": state}}
    other = {"bottleneck_dim": 7, "regularizer": {"name": "simvq", "args": {"codebook_size": 9}}}
    wrong = {"bottleneck": {"name": "bottleneck", "args": other}}
    x = load_io(folder)["input"]
    assert torch.equal(convert("ta-tok", wrong, file).encode(x).ids[:, 0], load_io(folder)["pool1.ids"])
    with pytest.raises(CheckpointError, match="scale_layer"):
        convert("ta-tok", config, state | {"scale_layer.shift": torch.full((1, 3, 1, 1), 0.4)})


def test_training_draws_the_pooling(folder):
    tok = load_reference(folder).train()
    torch.manual_seed(0)
    lengths = {tok(load_io(folder)["input"]).x_hat.shape[2] for _ in range(12)}
    assert lengths == {81, 16, 9}
    with torch.no_grad():
        assert tok(load_io(folder)["input"]).x_hat.shape[2] == 81
