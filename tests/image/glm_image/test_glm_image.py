"""GLM-Image's picture tokens against transformers. Run: pytest tests/image/glm_image/test_glm_image.py"""

import json

import pytest
import torch
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.codecs.serialize import CheckpointError
from tokenzoo.codecs.tokenizer import NotDecodable
from tokenzoo.zoo.convert import convert, load_reference
from torch.testing import assert_close

CLOSE = {"atol": 1e-5, "rtol": 1e-4}


@pytest.fixture(scope="module")
def folder():
    return reference_folder("image", "glm-image-vq-hf")


@pytest.fixture(scope="module")
def tok(folder):
    """From the whole model in shards: two sub-configs, two prefixes, a language model beside."""
    return load_reference(folder)


@pytest.mark.parametrize("case", ["s0.", "s1."])
def test_reference(folder, tok, case):
    """A grid of the table's size, and one of another shape, whose positions lie between the table's."""
    io = {k.removeprefix(case): v for k, v in load_io(folder).items() if k.startswith(case)}
    normalised, ids = io["input"], io["ids"]
    x = normalised * tok.pixel_std + tok.pixel_mean  # the stored input is what the processor hands over
    (h, w), width = ids.shape[1:], tok.config.width
    features = tok.tower(normalised)
    assert_close(features.flatten(0, 1), io["hidden"], **CLOSE)
    assert_close(tok.features(x), io["features"].flatten(2), **CLOSE)
    assert_close(tok.encode_latents(x), io["latent"].flatten(2), **CLOSE)
    tokens = tok.encode(x)
    assert torch.equal(tokens.ids[:, 0], ids.flatten(1)) and tokens.grid == (h, w) and features.shape[2] == width
    assert torch.equal(tok.encode(x[1]).ids, tokens.ids[1:])
    assert_close(tok.quantizer.decode(tokens.ids), io["quantized_from_ids"].flatten(2), **CLOSE)
    out = tok(x)
    assert_close(out.quantized.z_q, io["quantized"].flatten(2), **CLOSE)


def test_it_only_encodes(tok):
    tokens = tok.encode(torch.rand(3, 9, 17))
    assert tokens.grid == (3, 5) and not tok.spec.decodes and tok.spec.vocab_sizes == (64,)
    with pytest.raises(NotDecodable, match="only encodes"):
        tok.decode(tokens)


def test_names_with_and_without_the_model(folder, tok):
    config = json.loads((folder / "config.json").read_text())
    state = {k: v for shard in sorted(folder.glob("model-*.safetensors")) for k, v in load_file(shard).items()}
    bare = {k.removeprefix("model."): v for k, v in state.items() if k.startswith(("model.visual.", "model.vqmodel."))}
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(convert("glm_image-hf", config, bare).encode(x).ids, tok.encode(x).ids)
    with pytest.raises(CheckpointError, match="visual.extra"):
        convert("glm_image-hf", config, state | {"model.visual.extra": torch.ones(1)})


def test_loss_is_the_authors(tok):
    """The distance to the code moves the latents with weight 1, the code with beta."""
    x = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    z = tok.encode_latents(x)
    unit = torch.nn.functional.normalize(z, dim=1)
    q = tok.quantizer.decode(tok.quantizer.encode(z))
    assert_close(tok.quantizer(z).loss, 1.25 * (unit - q).square().mean(), **CLOSE)
