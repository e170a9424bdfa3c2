"""X-codec in both layouts against the authors' outputs, and other sizes against transformers.

    pytest tests/audio/xcodec/test_xcodec.py
"""

import io

import pytest
import torch
from audio_cases import as_folder, close, shake, stored
from tokenzoo.zoo.convert import convert, converter
from tokenzoo.zoo.torch_files import read_torch

ATOL = 5e-5


@pytest.mark.parametrize("system", ["xcodec", "xcodec-hf"])
@torch.no_grad()
def test_stored_cases(system: str) -> None:
    for tok, name, want in stored(system):
        order = (1, 0, 2) if system == "xcodec" else (0, 1, 2)  # the authors put codebooks first
        x, features = want["input"], want["semantic_features"].transpose(1, 2)
        ids = want["ids"].permute(order).long()
        close(tok.speech_features(x), features, ATOL)
        close(tok.semantic_encoder(features), want["semantic_encoded"], ATOL)
        close(tok.encode_latents(x), want["latent"], ATOL)
        close(tok.encode_latents(x, features), want["latent"], ATOL)
        tokens = tok.encode(x)
        assert torch.equal(tokens.ids, ids), name
        assert torch.equal(tok.encode(x, features=features).ids, ids), name
        for i, bandwidth in enumerate(tok.config.bandwidths_kbps[:-1]):
            num = tok.num_codebooks_for(bandwidth)
            assert torch.equal(tok.encode(x, num_codebooks=num).ids, want[f"ids_bw{i}"].permute(order).long()), name
        z_q = tok.quantizer.decode(ids)
        close(z_q, want["quantized"], ATOL)
        close(tok.decode_features(z_q), want["semantic_decoded"], ATOL)
        close(tok.decode(ids), want["decoded"], ATOL)
        for k in (1, 2, 3):
            close(tok.decode(ids[:, :k]), want[f"decoded_q{k}"], ATOL)
        y, length = tok.decode(tokens), want["decoded"].shape[-1]
        assert y.shape == x.shape  # the odd clip is filled up with zeros
        close(y[..., :length], want["decoded"], ATOL)
        assert not y[..., length:].any()
        out = tok(x)
        close(out.x_hat, y, ATOL)
        close(out.features["semantic"], want["semantic_decoded"], ATOL)
        close(out.features["semantic_target"], features, ATOL)


def small_hf(**changes):
    transformers = pytest.importorskip("transformers", reason="transformers holds the peer")
    speech = {
        "model_type": "hubert", "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16,
        "conv_dim": [8, 8, 8], "conv_kernel": [5, 3, 2], "conv_stride": [4, 2, 2], "num_conv_pos_embeddings": 6,
        "num_conv_pos_embedding_groups": 2, "vocab_size": 8, "num_feat_extract_layers": 3,
    }  # fmt: skip
    acoustic = {
        "encoder_hidden_size": 3, "downsampling_ratios": [2, 8], "decoder_hidden_size": 16, "upsampling_ratios": [8, 2],
        "hidden_size": 8, "hop_length": 16, "model_type": "dac",
    }  # fmt: skip
    values = {
        "target_bandwidths": [1.5, 5, 11], "codebook_size": 16, "semantic_model_config": speech, "acoustic_model_config": acoustic
    }  # fmt: skip
    for key, value in changes.items():
        values[key] = {**values[key], **value} if isinstance(values.get(key), dict) else value
    torch.manual_seed(3)
    peer = transformers.XcodecModel(transformers.XcodecConfig(**values)).eval()
    shake(peer)
    with torch.no_grad():
        for name, b in peer.named_buffers():
            if name.endswith(".embed"):
                b.mul_(2)
    return peer, peer.config.to_dict()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"channel_ratios": [2, 1], "block_dilations": [1, 3], "kernel_size": 5, "unit_kernel_size": 5},
        {"strides": [2, 1], "semantic_model_config": {"conv_stride": [4, 2, 1]}},
        {"codebook_size": 20, "target_bandwidths": [5, 14]},
        {"semantic_model_config": {"model_type": "wavlm", "num_buckets": 16, "max_bucket_distance": 40}},
    ],
)
@torch.no_grad()
def test_other_configurations_against_transformers(changes) -> None:
    peer, config = small_hf(**changes)
    tok = convert("xcodec-hf", config, {k: v.clone() for k, v in peer.state_dict().items()})
    for length in (160, 165, 167, 171, 172, 175):
        x = 0.3 * torch.randn(2, 1, length, generator=torch.Generator().manual_seed(length))
        want = peer.encode(x).audio_codes
        tokens = tok.encode(x)
        assert torch.equal(tokens.ids, want.long()), length
        assert tokens.ids.shape[-1] == tok.num_frames(length) and tokens.ids.unique().numel() > 4
        close(tok.decode(tokens.ids), peer.decode(want).audio_values, ATOL)


@torch.no_grad()
def test_authors_layout_of_other_sizes(tmp_path) -> None:
    """The same network in both layouts; the old spelling of weight norm in the speech model."""
    peer, config = small_hf(acoustic_model_config={"upsampling_ratios": [2, 8]})
    tok = convert("xcodec-hf", config, {k: v.clone() for k, v in peer.state_dict().items()})
    hubert = {k: v for k, v in config["semantic_model_config"].items() if k not in ("model_type", "hidden_size")}
    authors = {
        "D": 8,
        "ratios": [2, 8],
        "target_bandwidths": [1.5, 5, 21],
        "bins": 16,
        "semantic_techer": "wavlm_base_plus",
        "hard_coded_overrides": {
            "semantic_width": 24, "encoder_width": 3, "decoder_width": 16, "pad": 8, "hubert_config": {**hubert, "hidden_size": 24},
        },
    }  # fmt: skip
    state = _authors_keys(tok.state_dict(), levels=2)
    again = as_folder(tmp_path, "xcodec", authors, state)
    x = 0.3 * torch.randn(2, 1, 171, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again.encode(x).ids, tok.encode(x).ids)
    close(again.decode(again.encode(x)), tok.decode(tok.encode(x)), 1e-6)
    with pytest.raises(ValueError, match="not expected|does not know"):
        convert("xcodec", authors, {**state, "surplus.weight": torch.ones(1)})


def _authors_keys(state: dict[str, torch.Tensor], *, levels: int) -> dict[str, torch.Tensor]:
    """Our names to the authors', one by one."""
    unit = {"act_in.": "0.", "conv_in.": "1.", "act_out.": "2.", "conv_out.": "3."}
    top = {"join.": "fc_prior.", "to_semantic.": "fc_post1.", "to_acoustic.": "fc_post2."}
    out = {}
    for key, value in state.items():
        side, _, rest = key.partition(".")
        head = {"encoder": "encoder.block.", "decoder": "decoder_2.model."}.get(side)
        if key.endswith((".steps", "window")) or key.startswith("quantizer.window"):
            continue
        if key.startswith("semantic_model.model."):
            new = key.replace("semantic_model.model.", "semantic_model.")
            new = new.replace("parametrizations.weight.original0", "weight_g").replace("parametrizations.weight.original1", "weight_v")
        elif side == "quantizer":
            k, name = rest.split(".")[1], rest.split(".")[-1]
            name = {"embed": "embed", "sums": "embed_avg", "counts": "cluster_size", "ready": "inited"}[name]
            new, value = f"quantizer.vq.layers.{k}._codebook.{name}", value.float().reshape(-1) if name == "inited" else value
        elif side.startswith("semantic_"):
            new = f"{side.removeprefix('semantic_')}_semantic." + _repcodec(side, rest)
        elif head:
            new = head + _dac(rest, unit, levels, decoder=side == "decoder")
        else:
            new = next(b + key[len(a) :] for a, b in top.items() if key.startswith(a))
        out[new] = value
    return out


def _repcodec(side: str, rest: str) -> str:
    stem = "conv.conv" if side == "semantic_encoder" else "conv1.conv"
    rest = rest.replace("stem.", stem + ".").replace("head.", "conv2.conv.").replace("levels.", "conv_blocks.")
    if "units" in rest:
        return rest.replace("units.", "res_units.").replace("conv_in.", "conv1.conv.").replace("conv_out.", "conv2.")
    return rest.replace(".conv.weight", ".conv.conv.weight").replace(".conv.bias", ".conv.conv.bias") if "blocks" in rest else rest


def _dac(rest: str, unit: dict[str, str], levels: int, *, decoder: bool) -> str:
    if rest.startswith("stem."):
        return rest.replace("stem.", "0.")
    if rest.startswith("act."):
        return rest.replace("act.", f"{levels + 1}.")
    if rest.startswith("head."):
        return rest.replace("head.", f"{levels + 2}.")
    _, level, part, *tail = rest.split(".")
    if part != "units":
        number = {"act": 0, "conv": 1} if decoder else {"act": 3, "conv": 4}
        return f"{int(level) + 1}.block.{number[part]}.{tail[0]}"
    number = int(tail[0]) + (2 if decoder else 0)
    return f"{int(level) + 1}.block.{number}.block.{unit[tail[1] + '.']}{tail[2]}"


def test_wrong_configurations() -> None:
    make = converter("xcodec").config
    own = make({"D": 256, "target_bandwidths": [0.5, 1, 1.5, 2, 4]})
    assert own["quantizer"]["num_codebooks"] == 8 and own["semantic_name"] == "ZhenYe234/hubert_base_general_audio"
    run = {"generator": {"name": "SoundStream", "config": {"D": 256, "semantic_techer": "wavlm_base_plus"}}, "batch_size": 8}
    assert make(run)["semantic_model"]["model_type"] == "wavlm"
    with pytest.raises(ValueError, match="semantic_techer"):
        make({"semantic_techer": "w2v"})
    with pytest.raises(ValueError, match="codebook_dim"):
        converter("xcodec-hf").config({"codebook_dim": 64})
    old = {"audio_channels": 1, "encoder_channels": 768, "num_quantizers": 8, "hidden_dim": 1024, "output_dim": 256}
    assert converter("xcodec-hf").config(old) == converter("xcodec-hf").config({})
    with pytest.raises(ValueError, match="num_quantizers"):
        converter("xcodec-hf").config({"num_quantizers": 4})
    with pytest.raises(ValueError, match="channel_ratios"):
        converter("xcodec-hf").config({"channel_ratios": [1, 2]})


@torch.no_grad()
def test_padding_of_the_feature_extractor() -> None:
    peer, config = small_hf()
    tok = convert("xcodec-hf", config | {"pad_to_frames": True}, peer.state_dict())
    x = 0.3 * torch.randn(1, 1, 171, generator=torch.Generator().manual_seed(0))
    whole = torch.nn.functional.pad(x, (0, 5))  # to a multiple of 16
    assert torch.equal(tok.encode(x).ids, peer.encode(whole).audio_codes.long())
    assert tok.encode(x).ids.shape[-1] == 11 and tok.decode(tok.encode(x)).shape == x.shape


def test_checkpoints_hold_bytes_among_the_tensors(tmp_path) -> None:
    """The authors' files hold streams of bytes among the tensors, which no weights are."""
    tok, _, _ = next(stored("xcodec"))
    layout = converter("xcodec")
    state = layout.write(tok.state_dict(), tok.config)
    torch.save(state | {"something": io.BytesIO(b"bytes"), "number": 3}, tmp_path / "xcodec.pth")
    own = layout.read(read_torch(tmp_path / "xcodec.pth"), tok.config)
    assert own.keys() == layout.read(state, tok.config).keys()


def test_features_must_fit() -> None:
    tok, _, want = next(stored("xcodec"))
    features = want["semantic_features"].transpose(1, 2)
    with pytest.raises(ValueError, match="do not belong together"):
        tok.encode(want["input"], features=features[..., :7])


@torch.no_grad()
def test_whole_frames_lose_nothing() -> None:
    """With fill "frame" an odd clip gets as many frames as it needs."""
    from families import TINY
    from tokenzoo import build_tokenizer

    family, config = TINY["xcodec-frame"]
    tok = build_tokenizer(family, config).eval()
    hop = tok.spec.hop_samples
    for size in (1, hop, 3 * hop + 1):
        tokens = tok.encode(0.1 * torch.randn(1, 1, size))
        assert tokens.ids.shape[-1] == -(-size // hop) == tok.num_frames(size)
