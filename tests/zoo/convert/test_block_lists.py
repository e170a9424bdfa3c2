"""ELM's and ITER's autoencoders against the authors' outputs. Run: pytest tests/zoo/convert/test_block_lists.py"""

import json

import pytest
import torch
import torch.nn.functional as F
from image_cases import check_case
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.codecs.layers.vqgan_blocks import HeadAttentionBlock
from tokenzoo.codecs.quantizers.bits import unpack_bits
from tokenzoo.zoo.convert import convert, load_reference
from torch.testing import assert_close

CLOSE = {"atol": 5e-5, "rtol": 1e-4}


@pytest.mark.parametrize("case", ["s0.", "s1."])
def test_elm(case):
    folder = reference_folder("image", "elm-bae")
    tok, io = load_reference(folder), load_io(folder)
    x, z = io[case + "input"], io[case + "encoder_output"]
    assert_close(tok.encode_latents(x), z.flatten(2), **CLOSE)
    tokens, q = tok.encode(x), tok.quantizer
    assert torch.equal(unpack_bits(tokens.ids, q.weights, q.groups).long(), io[case + "bits"].flatten(2))
    assert_close(q.probabilities(z.flatten(2))[1], io[case + "probabilities"].flatten(2), **CLOSE)
    assert_close(q.decode(tokens.ids), io[case + "quantized"].flatten(2), **CLOSE)
    assert_close(q(z.flatten(2)).metrics["code"], io[case + "code_loss"][0], **CLOSE)
    assert_close(tok.decode(tokens), io[case + "decoded"], **CLOSE)
    assert_close(tok(x).x_hat, io[case + "forward"], **CLOSE)


def test_elm_tanh_bits_and_the_gan_checkpoint():
    folder = reference_folder("image", "elm-bae")
    config, state = json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")
    wrapped = {
        **{"ae." + k: v for k, v in state.items()},
        "disc.main.0.weight": torch.zeros(1),
        "perceptual.x": torch.zeros(1),
    }
    tok = convert("elm-bae", {**config, "use_tanh": True}, wrapped)
    plain = convert("elm-bae", config, state)
    x = load_io(folder)["s0.input"]
    tokens = tok.encode(x)
    assert torch.equal(tokens.ids, plain.encode(x).ids)  # tanh and sigmoid change sign together
    bits = 2.0 * unpack_bits(tokens.ids, tok.quantizer.weights, tok.quantizer.groups) - 1
    assert_close(
        tok.quantizer.decode(tokens.ids), torch.einsum("bnl,nd->bdl", bits, state["quantize.embed.weight"]), **CLOSE
    )


@pytest.mark.parametrize("case", ["s0.", "s1."])
def test_iter(case):
    folder = reference_folder("image", "iter")
    tok, io = load_reference(folder), load_io(folder)
    check_case(tok, io, case, atol=5e-5)
    x = io[case + "input"]
    z_q = tok.quantizer.decode(tok.encode(x).ids).unflatten(2, io[case + "latent"].shape[-2:])
    assert_close(tok.decoder(z_q), io[case + "decoded_raw"], **CLOSE)


def test_iter_pads_to_whole_windows():
    tok = load_reference(reference_folder("image", "iter"))
    x = torch.rand(1, 3, 33, 20, generator=torch.Generator().manual_seed(0))
    tokens = tok.encode(x)
    assert tok.size_multiple == 16 and tokens.grid == (12, 8) and tok.decode(tokens).shape == x.shape


def test_iter_attention_mixes_heads_not_positions():
    """The authors' tensors are (batch, position, head, width): PyTorch's attention then runs over heads."""
    torch.manual_seed(0)
    block = HeadAttentionBlock(16, heads=3, head_width=5)
    x = torch.randn(2, 16, 4, 3)
    q, k, v = (t.reshape(2, 3, 5, 12).permute(0, 3, 1, 2) for t in block.qkv(block.norm(x)).chunk(3, dim=1))
    y = F.scaled_dot_product_attention(q, k, v).permute(0, 2, 3, 1).reshape(2, 15, 4, 3)
    assert_close(block(x), x + block.out(y))
