"""diffusers' AutoencoderKL against itself. Run: pytest tests/image/kl_tokens/test_diffusers_kl.py"""

import warnings

import pytest
import torch
from tokenzoo.codecs.image.kl_tokens.layouts.diffusers_kl import NotFitted
from tokenzoo.codecs.serialize import CheckpointError, load_folder, save_folder
from tokenzoo.zoo.convert import convert
from tokenzoo.zoo.quantize import quantize
from torch.testing import assert_close

diffusers = pytest.importorskip("diffusers", reason="needs diffusers")
pytestmark = pytest.mark.filterwarnings("ignore:this autoencoder has no tokens")
CLOSE = {"atol": 5e-5, "rtol": 1e-4}
BLOCKS = {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}


def make(**more):
    torch.manual_seed(0)
    sizes = {"block_out_channels": [8, 16], "norm_num_groups": 4, "layers_per_block": 2, **BLOCKS}
    peer = diffusers.AutoencoderKL(**sizes | more).eval()
    for name, p in peer.named_parameters():
        torch.nn.init.normal_(p, mean=float("norm" in name), std=0.1)
    return peer


def own(peer, state=None):
    config = {k: v for k, v in peer.config.items() if k[0] != "_"}
    return convert("diffusers-autoencoderkl", config, peer.state_dict() if state is None else state)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"use_quant_conv": False, "use_post_quant_conv": False, "shift_factor": 0.3, "scaling_factor": 0.7, "latent_channels": 3},
        {"mid_block_add_attention": False, "act_fn": "gelu"},
    ],
)
@torch.no_grad()
def test_equals_diffusers(more):
    peer = make(**more)
    tok = own(peer)
    x = torch.rand(2, 3, 24, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    moments = peer.encode(x).latent_dist
    shift, scale = peer.config.shift_factor or 0.0, peer.config.scaling_factor
    z = (moments.mean - shift) * scale
    assert_close(tok.posterior(x)[1], moments.std, **CLOSE)
    assert_close(tok.encode_latents(x), z.flatten(2), **CLOSE)
    tokens = tok.encode(x)
    assert tokens.ids.shape[1] == peer.config.latent_channels and len(tokens.ids.unique()) > 3
    z_q = tok.quantizer.decode(tokens.ids).unflatten(2, tokens.grid)
    assert_close(tok.decode(tokens), peer.decode(z_q / scale + shift).sample, **CLOSE)


def test_names_of_attention_before_diffusers_0_17():
    peer = make()
    new = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    old = peer.state_dict()
    for key in list(old):
        for theirs, before in new.items():
            if f".{theirs}." in key:
                old[key.replace(theirs, before)] = old.pop(key)
    assert any("proj_attn" in k for k in old)
    for a, b in zip(own(peer).state_dict().values(), own(peer, old).state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_an_autoencoder_that_was_never_fitted_says_so(tmp_path):
    """Its levels are nobody's; after `quantize` and a way over a folder it is a tokenizer like others."""
    with pytest.warns(NotFitted, match="tokenzoo quantize"):
        tok = own(make())
    fitted, _ = quantize(tok, [torch.rand(3, 16, 16) * 2 - 1], levels=8)
    save_folder(fitted, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_folder(tmp_path).spec.vocab_sizes == (8,) * 4


def test_a_map_that_the_config_promises_must_be_there():
    peer = make()
    state = {k: v for k, v in peer.state_dict().items() if not k.startswith("quant_conv")}
    with pytest.raises(CheckpointError, match="to_posterior"):
        own(peer, state)


def test_options_that_are_not_supported_are_named():
    with pytest.raises(ValueError, match="latents_mean"):
        convert("diffusers-autoencoderkl", {"latents_mean": [0.0]}, {})
