"""USTokenizer against the authors' outputs. Run: pytest tests/audio/ustokenizer/test_ustokenizer.py"""

import json

import pytest
import tokenzoo
import torch
from audio_cases import close, stored
from reference import reference_folder
from safetensors.torch import load_file
from tokenzoo.zoo.convert import convert


def test_reference():
    for tok, name, want in stored("ustokenizer"):
        if name == "speech":
            continue
        x = want["features"]
        close(tok.encode_latents(x), want["latent"], 2e-5)
        tokens = tok.encode(x)
        assert torch.equal(tokens.ids, want["ids"]), name
        close(tok.quantizer.decode(tokens.ids), want["quantized"], 2e-5)
        back = tok.decode(tokens)
        assert back.shape == x.shape
        close(back[..., : want["decoded"].shape[-1]], want["decoded"], 2e-5)
        close(tok(x).x_hat, back, 2e-5)


def test_speech():
    pytest.importorskip("transformers")
    tok, _, want = next(case for case in stored("ustokenizer") if case[1] == "speech")
    wave = want["wave"].float() / 32767
    close(tok.extract_features(wave), want["features"], 2e-5)
    assert torch.equal(tok.tokenize(wave).ids, want["ids"])
    assert torch.equal(tok.tokenize((wave[None].expand(2, -1), 16000)).ids, want["ids"])
    assert tok.extract_features(wave[:100]).shape == (1, 12, 50)  # at least a second
    long = torch.cat([wave, wave.new_zeros(100), wave[:8000]])  # its Whisper takes two seconds at once
    assert tok.extract_features(long).shape == (1, 12, 100 + 25)


def test_the_frozen_speech_model_is_left_out_unless_it_is_described():
    folder = reference_folder("audio", "ustokenizer")
    config, state = json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")
    del config["whisper"]
    tok = convert("ustokenizer", config, state)
    assert tok.whisper is None
    alone = {k: v for k, v in state.items() if not k.startswith(("speech_encoder", "llama"))}
    again = convert("ustokenizer", {"model": {"codec_config": config["codec_config"], "lora": False}}, {"model": alone})
    x = torch.randn(1, 12, 20)
    assert torch.equal(again.encode(x).ids, tok.encode(x).ids)
    assert torch.equal(convert("ustokenizer", config["codec_config"], alone).encode(x).ids, tok.encode(x).ids)
    with pytest.raises(ValueError, match="output_channels"):
        convert("ustokenizer", {**config["codec_config"], "output_channels": 5}, alone)


def test_training_on_features_gives_them_back():
    """The authors' two losses without their language model: 45 x squared error of the features, 1 x commitment."""
    torch.manual_seed(0)
    tok = tokenzoo.build_tokenizer(
        "ustokenizer",
        {"encoder": {"features": 8, "width": 8, "strides": [1, 1]}, "decoder": {"features": 8, "width": 8, "strides": [1, 1]}}
        | {"latent_dim": 8, "quantizer": {"kind": "residual_vq", "num_codebooks": 1, "codebook_size": 32, "decay": 0.8}},
    )
    g = torch.Generator().manual_seed(1)
    kinds = torch.randn(6, 8, generator=g)

    def batch():
        said = torch.randint(6, (4, 8), generator=g).repeat_interleave(4, dim=1)  # [B, N]
        return kinds[said].transpose(1, 2)

    optimizer = torch.optim.Adam(tok.parameters(), lr=3e-3)
    first = None
    for _ in range(150):
        x = batch()
        out = tok(x)
        error = (out.x_hat - x).square().mean()
        first = first or error.item()
        optimizer.zero_grad()
        (45 * error + out.quantized.loss).backward()
        optimizer.step()
    tok.eval()
    x = batch()
    last = float((tok.decode(tok.encode(x)) - x).square().mean())
    assert last < 0.6 * first, (first, last)
