"""diffusers' VQModel against stored outputs and against itself. Run: pytest tests/image/vqgan/test_diffusers_vq.py"""

import json

import pytest
import torch
from audio_cases import shake
from image_cases import check_case
from reference import load_io, reference_folder
from safetensors.torch import load_file, save_file
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.zoo.convert import convert, converter, load_reference
from torch.testing import assert_close

NAME = "diffusion_pytorch_model.safetensors"
CLOSE = {"atol": 5e-5, "rtol": 1e-4}


@pytest.mark.parametrize("case", ["s0.", "s1."])
def test_reference(case):
    folder = reference_folder("image", "diffusers-vqmodel")
    tok, io = load_reference(folder), load_io(folder)
    check_case(tok, io, case, atol=5e-5)
    z = io[case + "latent"]
    y = tok.decode_latents(z.flatten(2), tuple(z.shape[-2:]))  # without the quantizer between
    assert_close(y, io[case + "decoded_not_quantized"], **CLOSE)


@pytest.mark.parametrize("case", ["s0.", "s1."])
@pytest.mark.parametrize("folder", ["amused-vq", "kandinsky-movq"])
def test_published_shapes(folder, case):
    """aMUSEd's pixels are 0..1, which its config.json does not say: a card does, through `value_range`."""
    folder = reference_folder("image", folder)
    config, state, io = json.loads((folder / "config.json").read_text()), load_file(folder / NAME), load_io(folder)
    amused = "lookup_from_codebook" in config and config["lookup_from_codebook"]
    tok = convert("diffusers-vqmodel", config | ({"value_range": [0.0, 1.0]} if amused else {}), state)
    assert tok.spec.value_range == ((0.0, 1.0) if amused else (-1.0, 1.0))
    check_case(tok, io, case, atol=1e-4)
    if amused:  # a photograph in bytes gives the ids of its values in 0..1
        pixels = (io["s0.input"][0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
        floats = torch.from_numpy(pixels).permute(2, 0, 1) / 255
        assert torch.equal(tok.encode(pixels).ids, tok.encode(floats).ids)
        with pytest.warns(UserWarning, match="amused-256"):  # a copy of the folder alone
            converter("diffusers-vqmodel").own_config(config)


@pytest.mark.parametrize("options", ["group", "spatial", "no attention"])
def test_diffusers_reads_what_we_write(options, tmp_path):
    """Trained here, served there: config.json and weights that `VQModel.from_pretrained` loads, with equal ids."""
    diffusers = pytest.importorskip("diffusers", reason="needs diffusers")
    layout = converter("diffusers-vqmodel")
    more = {"spatial": {"norm_type": "spatial", "vq_embed_dim": None}, "no attention": {"mid_block_add_attention": False}}
    theirs = {
        "block_out_channels": [32, 64], "norm_num_groups": 8, "latent_channels": 4, "vq_embed_dim": 6, "num_vq_embeddings": 40,
        "down_block_types": ["DownEncoderBlock2D", "AttnDownEncoderBlock2D"],
        "up_block_types": ["AttnUpDecoderBlock2D", "UpDecoderBlock2D"], **more.get(options, {}),
    }  # fmt: skip
    own = layout.own_config(theirs)
    tok = shake(build_tokenizer("vqgan", own)).eval()
    config_name, weights_name = layout.files
    (tmp_path / config_name).write_text(json.dumps(layout.authors_config(own)))
    state = {k: v.contiguous() for k, v in layout.write(tok.state_dict(), own).items()}
    save_file(state, tmp_path / weights_name, metadata={"format": "pt"})
    peer = diffusers.VQModel.from_pretrained(tmp_path).eval()
    x = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        z = peer.encode(x).latents
        tokens = tok.encode(x)
        assert torch.equal(tokens.ids.flatten(), peer.quantize(z)[2][2].flatten()) and len(tokens.ids.unique()) > 3
        assert_close(tok.decode(tokens), peer.decode(z).sample, **CLOSE)


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
