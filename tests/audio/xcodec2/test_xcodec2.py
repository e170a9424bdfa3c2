"""X-codec2 and NeuCodec in both layouts against the authors' outputs, and another size against transformers.

    pytest tests/audio/xcodec2/test_xcodec2.py
"""

import pytest
import torch
from reference import load_io, reference_folder
from tokenzoo.codecs.audio.xcodec2.layouts.xcodec2 import is_xcodec2
from tokenzoo.codecs.tokens import Tokens
from tokenzoo.zoo.convert import convert, converter, load_reference


def close(got: torch.Tensor, want: torch.Tensor, atol: float = 5e-5) -> None:
    torch.testing.assert_close(got, want, atol=atol, rtol=1e-4)


def load(system: str):
    folder = reference_folder("audio", system)
    cases: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in load_io(folder).items():
        name, what = key.split(".")
        cases.setdefault(name, {})[what] = value
    return load_reference(folder), cases


@pytest.mark.parametrize("system", ["xcodec2", "neucodec"])
@torch.no_grad()
def test_authors_layout(system: str) -> None:
    tok, cases = load(system)
    for name, want in cases.items():
        x, features = want["input"], want["semantic_features"]
        length = want["ids"].shape[-1]
        close(tok.encoder(x)[..., :length], want["acoustic_encoded"])
        close(tok.adapter(features)[..., :length], want["semantic_encoded"])
        close(tok.encode_latents(x, features), want["latent"])
        tokens = tok.encode(x, features=features)
        assert torch.equal(tokens.ids, want["ids"].long()), name
        z_q = tok.quantizer.decode(tokens.ids)
        close(z_q, want["quantized_from_ids"])
        close(z_q, want["quantized"])
        close(tok.decoder.backbone(z_q), want["backbone"])
        close(tok.decode(tokens.ids), want["decoded"])
        whole = tok.decode(tokens)  # the odd clip: filled up with zeros, or cut where its frames are fewer
        shown = min(whole.shape[-1], want["decoded"].shape[-1])
        close(whole[..., :shown], want["decoded"][..., :shown])


@pytest.mark.parametrize(("system", "atol"), [("xcodec2-hf", 1e-4), ("neucodec-hf", 5e-5)])
@torch.no_grad()
def test_transformers_layout(system: str, atol: float) -> None:
    tok, cases = load(system)
    for name, want in cases.items():
        x, ids = want["input_values"], want["ids"].long()
        features = want["semantic_hidden"].transpose(1, 2)
        close(tok.encode_latents(x, features).transpose(1, 2), want["latent"], atol)
        assert torch.equal(tok.encode(x, features=features).ids, ids), name
        close(tok.quantizer.decode(ids), want["quantized_from_ids"], atol)
        close(tok.decode(ids), want["decoded"], atol)
        if "ragged" in name:
            continue  # the authors' batch lets an item see the padding of the longer one
        close(tok.semantic_model(want["input_features"]), features, atol)
        # From the clip alone: what stands behind it was added by the authors' feature extractor.
        clip = x[..., : int(want["padding_mask"].sum()) - 1]
        tokens = tok.encode(clip)
        assert torch.equal(tokens.ids, ids), name
        size = -(-clip.shape[-1] * tok.spec.decoded_rate_hz // 16000)
        assert tok.decode(tokens).shape[-1] == size
        shown = min(size, want["forward"].shape[-1])
        close(tok.decode(tokens)[..., :shown], want["forward"][..., :shown], atol)


@torch.no_grad()
def test_another_configuration_against_transformers() -> None:
    transformers = pytest.importorskip("transformers", reason="transformers holds the peer")
    torch.manual_seed(3)
    speech = {
        "model_type": "wav2vec2-bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 32, "output_hidden_size": 16, "conv_depthwise_kernel_size": 5, "vocab_size": 8,
    }  # fmt: skip
    config = transformers.Xcodec2Config(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        rms_norm_eps=1e-3,
        attention_bias=True,
        encoder_hidden_size=3,
        downsampling_ratios=[3, 2],
        semantic_model_config=speech,
        quantization_dim=48,
        quantization_levels=[5, 4, 3],
    )
    peer = transformers.Xcodec2Model(config).eval()
    for p in peer.parameters():  # lively: the start values give one id
        p.copy_(torch.randn_like(p) * (1.5 * p[0].numel() ** -0.5 if p.ndim > 1 else 0.2))
    tok = convert("xcodec2-hf", config.to_diff_dict(), {k: v.clone() for k, v in peer.state_dict().items()})
    x, fbanks = torch.randn(2, 1, 6 * 20) * 0.3, torch.randn(2, 20, 160)
    out = peer.encode(x, fbanks)
    tokens = tok.encode(x, features=tok.semantic_model(fbanks))
    assert torch.equal(tokens.ids, out.audio_codes.long())
    assert tokens.ids.unique().numel() > 5
    close(tok.decode(tokens.ids), peer.decode(tokens.ids).audio_values)


def test_wrong_configurations() -> None:
    make = converter("xcodec2").config
    defaults = {"fc_prior": [2048, 2048], "fc_post_a": [2048, 1024]}
    assert make(defaults)["pad_features"]
    assert make({})["hop_out_samples"] == 320
    neucodec = converter("neucodec").config({})
    assert neucodec["hop_out_samples"] == 480 and not neucodec["pad_features"]
    with pytest.raises(ValueError, match="fc_prior"):
        make({**defaults, "fc_prior": [1024, 2048]})
    with pytest.raises(ValueError, match="num_key_value_heads"):
        converter("xcodec2-hf").config({"num_key_value_heads": 4})


@pytest.mark.parametrize("model_type", ["xcodec2", "xcodec"])
def test_the_hub_repositorys_config_is_known_by_what_it_holds(model_type: str) -> None:
    sizes = {"semantic_hidden_size": 1024, "codec_encoder_hidden_size": 1024, "codec_decoder_hidden_size": 1024}
    config = {"model_type": model_type, **sizes, "use_vocos": True, "architectures": ["XCodec2Model"]}
    assert is_xcodec2(config)
    own = converter("xcodec2").own_config(config)
    assert own == converter("xcodec2").own_config({}) and own.hop_samples == 320
    transformers = {"model_type": model_type, "semantic_model_config": {"hidden_size": 1024}, "sampling_rate": 16000}
    assert not is_xcodec2(transformers)


def test_features_must_fit() -> None:
    tok, cases = load("xcodec2")
    x = cases["mult_b2"]["input"]
    with pytest.raises(ValueError, match="one for each item"):
        tok.encode(x, features=cases["mult_b1"]["semantic_features"])
    with pytest.raises(ValueError, match="Pass `features=`"):
        tok.encode(x)
    tokens = Tokens(ids=cases["mult_b2"]["ids"].long(), vocab_sizes=tok.spec.vocab_sizes)
    assert tok.decode(tokens).shape == (2, 1, 360)
