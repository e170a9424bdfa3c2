"""diffusers' VQModel against stored outputs and against itself. Run: pytest tests/zoo/convert/test_diffusers_vq.py"""

import pytest
import torch
from image_cases import check_case
from reference import load_io, reference_folder
from tokenzoo.zoo.convert import convert, load_reference
from torch.testing import assert_close

CLOSE = {"atol": 5e-5, "rtol": 1e-4}


@pytest.mark.parametrize("case", ["s0.", "s1."])
def test_reference(case):
    folder = reference_folder("image", "diffusers-vqmodel")
    tok, io = load_reference(folder), load_io(folder)
    check_case(tok, io, case, atol=5e-5)
    z = io[case + "latent"]
    y = tok.decode_latents(z.flatten(2), tuple(z.shape[-2:]))  # without the quantizer between
    assert_close(y, io[case + "decoded_not_quantized"], **CLOSE)


@pytest.mark.parametrize(
    "more",
    [
        {"norm_type": "spatial", "block_out_channels": [32, 64], "latent_channels": 5, "vq_embed_dim": 5},
        {"act_fn": "gelu", "mid_block_add_attention": False, "norm_num_groups": 4, "block_out_channels": [8, 12, 16]},
    ],
)
def test_other_configurations(more):
    diffusers = pytest.importorskip("diffusers", reason="needs diffusers")
    torch.manual_seed(0)
    n = len(more["block_out_channels"])
    config = {
        "down_block_types": ["DownEncoderBlock2D"] * (n - 1) + ["AttnDownEncoderBlock2D"],
        "up_block_types": ["AttnUpDecoderBlock2D"] + ["UpDecoderBlock2D"] * (n - 1),
        "layers_per_block": 2, "num_vq_embeddings": 50, **more,
    }  # fmt: skip
    peer = diffusers.VQModel(**config).eval()
    for name, p in peer.named_parameters():
        torch.nn.init.normal_(p, mean=float("norm" in name), std=0.1)
    tok = convert("diffusers-vqmodel", {k: v for k, v in peer.config.items() if k[0] != "_"}, peer.state_dict())
    x = torch.randn(2, 3, 24, 16, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)
    with torch.no_grad():
        z = peer.encode(x).latents
        assert_close(tok.encode_latents(x), z.flatten(2), **CLOSE)
        tokens = tok.encode(x)
        assert torch.equal(tokens.ids.flatten(), peer.quantize(z)[2][2].flatten())
        assert len(tokens.ids.unique()) > 3
        assert_close(tok.decode(tokens), peer.decode(z).sample, **CLOSE)


def test_options_that_are_not_supported_are_named():
    with pytest.raises(ValueError, match="SkipDownBlock2D"):
        convert("diffusers-vqmodel", {"down_block_types": ["SkipDownBlock2D"]}, {})
    with pytest.raises(ValueError, match="norm_type"):
        convert("diffusers-vqmodel", {"norm_type": "layer"}, {})
