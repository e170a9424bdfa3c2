"""DualViTok (ILLUME+) against the authors' outputs. Run: pytest tests/image/dualvitok/test_dualvitok.py"""

import json

import pytest
import torch
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo import Tokens
from tokenzoo.codecs.image.dualvitok.model import DualViTokConfig
from tokenzoo.codecs.spec import ImageSpec
from tokenzoo.codecs.token_file import from_bytes, to_bytes
from tokenzoo.zoo.convert import convert, load_reference
from torch.testing import assert_close

CLOSE = {"atol": 1e-4, "rtol": 1e-4}


@pytest.fixture(scope="module")
def folder():
    return reference_folder("image", "dualvitok")


@pytest.fixture(scope="module")
def tok(folder):
    return load_reference(folder)


def authors_patches(view):
    """Normalised pictures as rows of patches in the order of Qwen2-VL: blocks of 2 x 2 patches, each picture twice in time."""
    b, _, height, width = view.shape
    x = view.reshape(b, 3, height // 28, 2, 14, width // 28, 2, 14)
    x = x.permute(0, 2, 5, 3, 6, 1, 4, 7)  # [B, s, t, 2, 2, 3, 14, 14]
    return x.unsqueeze(6).expand(*x.shape[:6], 2, 14, 14).reshape(-1, 3 * 2 * 14 * 14)


@pytest.mark.parametrize("case", ["s0.", "s1."])
def test_reference(folder, tok, case):
    io = {k.removeprefix(case): v for k, v in load_io(folder).items() if k.startswith(case)}
    x, semantic_ids, pixel_ids = io["input"], io["semantic_ids"], io["pixel_ids"]
    (s, t), (h, w) = semantic_ids.shape[1:], pixel_ids.shape[1:]
    assert_close(authors_patches(tok.tower_view(x)), io["preprocessed"], **CLOSE)
    assert_close(tok.encode_features(x).transpose(1, 2), io["semantic_target"].flatten(2), **CLOSE)
    z = tok.encode_latents(x)
    assert_close(z[:, :8, : s * t], io["semantic_latent"].flatten(2), **CLOSE)
    assert_close(z[:, 8:], io["pixel_latent"].flatten(2), **CLOSE)
    assert not z[:, :8, s * t :].any()

    tokens = tok.encode(x)
    assert tokens.names == ("semantic", "pixel") and tokens.vocab_sizes == (96, 128)
    assert torch.equal(tokens.track("semantic").ids[:, 0], semantic_ids.flatten(1)) and tokens.track("semantic").grid == (s, t)
    assert torch.equal(tokens.track("pixel").ids[:, 0], pixel_ids.flatten(1)) and tokens.track("pixel").grid == (h, w)
    assert tokens.bits() == [7 * (s * t + h * w)] * 2

    z_q = tok.quantizer.decode(tokens.ids, grid=(h, w))
    assert_close(z_q[:, :8, : s * t], io["semantic_quantized_from_ids"].flatten(2), **CLOSE)
    assert_close(z_q[:, 8:], io["pixel_quantized_from_ids"].flatten(2), **CLOSE)
    assert_close(tok.merged_code(z_q, (h, w))[:, :8], io["merged"], **CLOSE)
    y = tok.decode(tokens)
    assert_close(y, io["decoded"], **CLOSE)
    assert_close(tok.semantic(tokens), io["decoded_semantic"].flatten(2), **CLOSE)

    out = tok(x)
    assert_close(out.x_hat, io["decoded"], **CLOSE)
    assert_close(out.features["semantic"], io["decoded_semantic"].flatten(2), **CLOSE)
    assert_close(out.quantized.loss, io["losses"].sum(), **CLOSE)
    single = tok.encode(x[:1])
    assert torch.equal(single.ids, tokens.ids[:1])
    assert_close(tok.decode(single), y[:1], **CLOSE)


def test_ragged_batch_and_file(tok):
    """Pictures of several sizes: each has both of its grids, in the batch and in the file."""
    generator = torch.Generator().manual_seed(1)
    xs = [torch.rand(3, *size, generator=generator) * 2 - 1 for size in ((56, 56), (28, 61), (9, 120))]
    tokens = tok.encode(xs)
    assert tokens.book_grids.tolist() == [[[2, 2], [28, 28]], [[1, 2], [14, 31]], [[1, 4], [5, 60]]]
    again = from_bytes(to_bytes(tokens))
    assert again.equal(tokens) and len(to_bytes(tokens)) < sum(tokens.bits()) // 8 + 500
    for i, (x, y) in enumerate(zip(xs, tok.decode(again), strict=True)):
        alone = tok.encode(x)
        assert alone.equal(tokens[i]) and y.shape == x.shape
        assert_close(tok.decode(alone)[0], y, **CLOSE)
    semantic = tokens.track("semantic")
    assert [t.grid for t in semantic] == [(2, 2), (1, 2), (1, 4)] and semantic.lengths.tolist() == [4, 2, 4]
    with pytest.raises(ValueError, match="no common positions"):
        tokens.first(positions=3)


def test_ids_alone_decode(tok):
    """A language model gives ids and a pixel grid; the semantic grid follows."""
    tokens = tok.encode(torch.rand(1, 3, 56, 84, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    bare = Tokens(ids=tokens.ids, vocab_sizes=tokens.vocab_sizes, grid=tokens.grid, names=tokens.names)
    assert torch.equal(tok.decode(bare), tok.decode(tokens))


def test_sizes_of_the_published_model():
    """The authors' table of sizes; elsewhere the next smaller multiple of 28."""
    from tokenzoo.codecs.image.dualvitok.model import DualViTok

    tower = {"layers": 0, "width": 64, "heads": 4, "feature_dim": 8}
    small = {"width": 64, "layers": 0, "heads": 4}
    stack = {"widths": [32] * 5, "blocks": 0, "middle": []}
    from tokenzoo.codecs.config import from_mapping

    config = from_mapping(
        DualViTokConfig,
        {"tower": tower, "semantic_encoder": small, "semantic_decoder": small, "feature_dim": 8, "encoder": stack,
         "decoder": stack | {"condition": "spatial"}},
    )  # fmt: skip
    tok = DualViTok(config)
    sizes = {(256, 256): (9, 9), (512, 512): (18, 18), (512, 384): (16, 12), (384, 768): (13, 26), (960, 320): (33, 11),
             (1024, 256): (36, 9), (16, 320): (1, 11), (320, 320): (11, 11)}  # fmt: skip
    assert {s: tok.semantic_grid((s[0] // 16, s[1] // 16)) for s in sizes} == sizes
    assert tok.spec.tokens_per_image(256, 256) == 81 + 256
    assert tok.spec.bits_per_pixel(256, 256) * 256**2 == pytest.approx(81 * 15 + 256 * 16.584962500721156)
    assert isinstance(tok.spec, ImageSpec)


def test_options(folder):
    """What the stored case does not use: plain resampling, other heads, pixel codes alone, a table of another width."""
    config, state = json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")
    for side in ("encoder", "decoder"):
        plain = {**config, f"pixel_{side}": {**config[f"pixel_{side}"], "use_dc_up_down_blocks": False}}
        with pytest.raises(ValueError, match="resample.conv"):  # the widths of its convolution differ
            convert("dualvitok", plain, dict(state))
    with pytest.raises(ValueError, match="only 'Emova-ollm/qwen2vit600m' is known"):
        convert("dualvitok", {k: v for k, v in config.items() if k != "qwen2_vit"}, dict(state))
    with pytest.raises(ValueError, match="pixel_decoder.embed_dim is 16"):
        convert("dualvitok", {**config, "semantic_detail_merge_type": "sum"}, dict(state))
    with pytest.raises(ValueError, match="not know"):
        convert("dualvitok", config, state | {"semantic_encoder.extra.weight": torch.zeros(1)})
    wrapped = convert("dualvitok", {"type": "DualViTok", "config": config}, {"model": state})
    assert wrapped.config.decoder.stem_shortcut


def test_raw_weights_win_where_the_file_has_both(folder, tok):
    """Their loaders take "model", and "ema" only where told to."""
    config, state = json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")
    x = load_io(folder)["s0.input"]
    both = {"ema": {k: torch.randn_like(v) for k, v in state.items()}, "model": state, "optimizer": {}}
    assert torch.equal(convert("dualvitok", config, both).encode(x).ids, tok.encode(x).ids)


def test_noise_disturbs_training_alone(folder):
    config, state = json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")
    x = load_io(folder)["s0.input"]
    for kind in ("random", "zero"):
        noisy = {**config, "pixel_drop_rate": 0.5, "pixel_drop_batch_rate": 1.0, "pixel_noise_type": kind}
        tok = convert("dualvitok", noisy, dict(state))
        clean = tok(x).x_hat
        assert_close(tok.decode(tok.encode(x)), clean, **CLOSE)
        tok.train()
        code = tok.quantizer(tok.encode_latents(x), grid=(28, 28)).z_q
        pixel = tok.merged_code(code, (28, 28))[:, 8:].flatten(2)
        hit = (pixel != code[:, 8:]).any(1)
        assert 0.4 < hit.float().mean() < 0.6
        other = code[:, 8:].roll(1, 0) if kind == "random" else torch.zeros_like(pixel)
        assert torch.equal(pixel[hit.unsqueeze(1).expand_as(pixel)], other[hit.unsqueeze(1).expand_as(pixel)])
