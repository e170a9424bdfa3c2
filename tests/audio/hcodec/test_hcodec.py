"""H-Codec 1.0 against the authors' outputs, and its quantizer against vector-quantize-pytorch.

    pytest tests/audio/hcodec/test_hcodec.py
"""

import pytest
import torch
from audio_cases import close, stored
from tokenzoo.codecs.audio.hcodec.layouts.parts import lucid_axes, lucid_rows
from tokenzoo.codecs.layouts.keymap import KeyMap, Rename
from tokenzoo.codecs.layouts.seanet_keys import running_codebooks
from tokenzoo.zoo.convert import converter

ATOL = 2e-5


@torch.no_grad()
def test_stored_cases() -> None:
    for tok, name, want in stored("h-codec-1.0"):
        x, features, dim = want["input"], want["features"], tok.config.seanet.latent_dim
        z = tok.encode_latents(x, features)
        close(z[:, :dim], want["latent"], ATOL)
        close(z[:, dim:], want["semantic_latent"], ATOL)
        tokens = tok.encode(x, features=features)
        ids = torch.cat([want["ids_acoustic"], want["ids_semantic"]], dim=1).long()
        assert torch.equal(tokens.ids, ids), name
        z_q = tok.quantizer.decode(ids)
        close(z_q[:, :dim].transpose(1, 2), want["quantized_acoustic"], ATOL)
        close(z_q[:, dim:].transpose(1, 2), want["quantized_semantic"], ATOL)
        close(tok.decode(ids)[:, 0], want["decoded"], ATOL)
        assert tok.decode(tokens).shape == x.shape
        close(tok.decode(tokens)[:, 0], want["decoded"][:, : x.shape[-1]], ATOL)
        out = tok(x, features)
        close(out.x_hat[:, 0], want["forward"][:, : x.shape[-1]], ATOL)
        close(out.features["semantic"], want["predicted_features"], ATOL)


@torch.no_grad()
def test_quantizer_against_its_package() -> None:
    lucid = pytest.importorskip("vector_quantize_pytorch", reason="vector-quantize-pytorch holds the peer")
    from tokenzoo.codecs.quantizers.residual_vq import ResidualVQConfig

    torch.manual_seed(0)
    peer = lucid.ResidualVQ(dim=12, codebook_size=20, num_quantizers=3, kmeans_init=True, quantize_dropout=True).eval()
    for layer in peer.layers:
        layer._codebook.embed.normal_()
        layer._codebook.initted.fill_(True)
    own = ResidualVQConfig(dim=12, codebook_size=20, num_codebooks=3).build().eval()
    state = {f"q.{k}": v for k, v in peer.state_dict().items()}
    keys = KeyMap(Rename([*lucid_rows("q", "own"), ("**.batch_mean", None)]), lucid_axes(), running_codebooks())
    state = keys.read(state)
    own.load_state_dict({k.removeprefix("own."): v for k, v in state.items()}, strict=False)
    z = torch.randn(2, 12, 50)
    quantized, ids, _ = peer(z.transpose(1, 2))
    assert torch.equal(own.encode(z), ids.transpose(1, 2))
    close(own.decode(own.encode(z)), quantized.transpose(1, 2), 1e-6)


@torch.no_grad()
def test_own_features_follow_the_published_order() -> None:
    pytest.importorskip("transformers", reason="transformers holds the speech model")
    from families import TINY
    from tokenzoo import build_tokenizer

    family, config = TINY["hcodec"]
    tok = build_tokenizer(family, config).eval()
    x = 0.1 * torch.randn(2, 1, 3200)
    states = tok.semantic_model.model(
        torch.nn.functional.pad(x[:, 0], (160, 160)), output_hidden_states=True
    ).hidden_states
    mean = torch.stack(states, dim=1).mean(1)
    want = ((mean > 0).float() * 2 - 1) * mean.abs() ** 0.3
    close(tok.speech_features(x), want.transpose(1, 2), 1e-5)
    assert torch.equal(tok.encode(x).ids, tok.encode(x, features=want.transpose(1, 2)).ids)


def test_wrong_configurations() -> None:
    make = converter("h-codec-1.0").config
    assert make({})["seanet"]["strides"] == [2, 4, 5, 8]
    with pytest.raises(ValueError, match="hop_length"):
        make({"hard_coded_overrides": {"decoder": {"hop_length": 160}}})
    with pytest.raises(ValueError, match="out_channels is 512"):
        make({"hard_coded_overrides": {"encoder": {"dimension": 256, "n_filters": 16}, "quantizer": {"dim": 256}}})
    with pytest.raises(ValueError, match="codebook_dim"):
        make({"hard_coded_overrides": {"quantizer": {"codebook_dim": 8}}})
    tok, _, want = next(stored("h-codec-1.0"))
    with pytest.raises(ValueError, match="do not belong together"):
        tok.encode(want["input"], features=want["features"][..., :6])
