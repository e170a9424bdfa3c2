"""ITER's Swin VQGAN against the authors' outputs. Run: pytest tests/image/vqgan/test_iter.py"""

import pytest
import torch
import torch.nn.functional as F
from image_cases import check_case
from reference import load_io, reference_folder
from tokenzoo.codecs.layers.vqgan_blocks import HeadAttentionBlock
from tokenzoo.zoo.convert import load_reference
from torch.testing import assert_close

CLOSE = {"atol": 5e-5, "rtol": 1e-4}


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
