"""Paella's VQGAN against diffusers. Run: pytest tests/image/paella/test_paella.py"""

import pytest
import torch
from image_cases import check_case
from PIL import Image
from reference import load_io, reference_folder
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.zoo.convert import load_reference
from torch.testing import assert_close


@pytest.mark.parametrize("case", ["s0.", "s1."])
def test_reference(case):
    folder = reference_folder("image", "paella-vq")
    tok, io = load_reference(folder), load_io(folder)
    check_case(tok, io, case, atol=5e-5)
    latent = io[case + "latent"]
    y = tok.decode_latents(latent.flatten(2), tuple(latent.shape[-2:]))
    assert_close(y, io[case + "decoded_not_quantized"], atol=5e-5, rtol=1e-4)


def test_bytes_lie_in_0_to_1():
    folder = reference_folder("image", "paella-vq")
    tok, x = load_reference(folder), (load_io(folder)["s1.input"] * 255).round().to(torch.uint8)
    picture = Image.fromarray(x[0].permute(1, 2, 0).numpy())
    assert torch.equal(tok.encode(picture).ids, tok.encode(x[:1].float() / 255).ids)


def test_tiles_give_the_ids_of_the_whole_picture():
    torch.manual_seed(0)
    quantizer = {"kind": "vq", "codebook_size": 64, "update": "gradient", "kmeans_init": False}
    tok = build_tokenizer("paella", {"width": 16, "blocks": 2, "quantizer": quantizer}).eval()
    with torch.no_grad():
        for p in tok.parameters():
            p.copy_(torch.randn_like(p) * (p[0].numel() ** -0.5 if p.ndim > 1 else 0.5))
        x = torch.rand(1, 3, 122, 90)
        tok.quantizer.codebook.embed.copy_(tok.encode_latents(x[..., :120, :88])[0].t()[:64])
    whole = tok.encode(x)
    y = tok.decode(whole)
    tok.piece_positions = 8
    assert torch.equal(tok.encode(x).ids, whole.ids) and len(whole.ids.unique()) > 8
    assert_close(tok.decode(whole), y, atol=5e-5, rtol=1e-4)
    tok.context_positions = 0
    assert not torch.equal(tok.encode(x).ids, whole.ids) and not torch.allclose(tok.decode(whole), y, atol=5e-5)
