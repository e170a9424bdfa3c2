"""4M over maps of features and classes, and over vectors. Run: pytest tests/image/fourm/test_fourm_maps.py"""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.codecs.image.fourm.maps import FourMDiVAEMaps, FourMMaps
from tokenzoo.codecs.media import MediaError
from tokenzoo.zoo.convert import convert, converter, load_reference
from torch.testing import assert_close

CLOSE = {"atol": 2e-5, "rtol": 1e-4}
FEATURES = ["4m-features", "4m-global"]


def parts(system):
    folder = reference_folder("image", system)
    return json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors"), load_io(folder)


@pytest.mark.parametrize("system", FEATURES)
def test_features(system):
    folder = reference_folder("image", system)
    tok, io = load_reference(folder), load_io(folder)
    assert isinstance(tok, FourMMaps) and tok.layout == "4m-vqvae"
    x = io["input"]
    assert tok.spec.modality == "latent" and tok.spec.channels == x.shape[1] and tok.spec.stride == 1
    assert_close(tok.encode_latents(x), io["latent"].flatten(2), **CLOSE)
    tokens = tok.encode(x)
    ids = io["ids"].flatten(1)[:, None] if tok.spec.num_codebooks == 1 else io["ids"].flatten(2)
    assert torch.equal(tokens.ids, ids) and tokens.grid == tuple(x.shape[2:])
    assert torch.equal(tok.encode(list(x)).ids, ids) and torch.equal(tok.encode(x[1:]).ids, ids[1:])
    assert_close(tok.quantizer.decode(tokens.ids), io["quantized_from_ids"].flatten(2), **CLOSE)
    assert_close(tok.decode(tokens), io["decoded"], **CLOSE)
    assert_close(tok(x).x_hat, io["autoencoded"], **CLOSE)


def test_vectors_side_by_side():
    """N vectors are one item [C, N]; each gets its K ids, whatever stands beside it."""
    config, state, io = parts("4m-global")
    tok, x = convert("4m-vqvae", config, state), io["input"][:, :, 0, 0]
    tokens = tok.encode(x.t())
    assert torch.equal(tokens.ids, io["ids"].flatten(1).t()[None]) and tokens.grid == (8,)
    assert_close(tok.decode(tokens)[0].t(), io["decoded"][:, :, 0, 0], **CLOSE)


def test_plain_tower():
    """`MLP/...`: linear maps behind norms, without residual paths."""
    config, state, io = parts("4m-global")
    state = {k: v for k, v in state.items() if not k.startswith("encoder.")}
    shapes = {"linear_in": (32, 24), "linear_out": (32, 32), "layers.0": (32, 32), "layers.1": (32, 32)}
    g = torch.Generator().manual_seed(0)
    own = {f"{n}.weight": torch.randn(s, generator=g) / 6 for n, s in shapes.items()}
    own |= {f"{n}.bias": torch.randn(s[0], generator=g) for n, s in shapes.items()}
    own |= {f"layernorms.{i}.{e}": torch.randn(32, generator=g) for i in (0, 1) for e in ("weight", "bias")}
    tok = convert("4m-vqvae", {**config, "enc_type": "MLP/B_3-Wi_32"}, state | {f"encoder.{k}": v for k, v in own.items()})
    x = io["input"][:, :, 0, 0]
    y = x @ own["linear_in.weight"].t() + own["linear_in.bias"]
    for i in (0, 1):
        y = torch.layer_norm(y, (32,), own[f"layernorms.{i}.weight"], own[f"layernorms.{i}.bias"])
        y = y @ own[f"layers.{i}.weight"].t() + own[f"layers.{i}.bias"]
    y = y @ own["linear_out.weight"].t() + own["linear_out.bias"]
    assert_close(tok.encoder(x[:, :, None])[:, :, 0], y, **CLOSE)


def test_classes():
    folder = reference_folder("image", "4m-semseg")
    tok, io = load_reference(folder), load_io(folder)
    x = io["input"]
    assert (tok.spec.classes, tok.spec.stride, tok.spec.channels) == (15, 4, 1)
    assert_close(tok.encode_latents(x), io["latent"].flatten(2), **CLOSE)
    tokens = tok.encode(x)
    assert torch.equal(tokens.ids[:, 0], io["ids"].flatten(1))
    assert torch.equal(tok.decode(tokens), io["label_ids"])
    assert_close(tok.decode(tokens, scores=True), io["decoded"], **CLOSE)
    assert_close(tok(x).x_hat, io["autoencoded"], **CLOSE)
    odd = tok.encode([x[0, :17, :30], x[1]])
    assert odd.grids.tolist() == [[5, 8], [8, 8]] and [tuple(y.shape) for y in tok.decode(odd)] == [(17, 30), (32, 32)]


def test_wrong_maps_are_refused():
    tok = load_reference(reference_folder("image", "4m-semseg"))
    with pytest.raises(ValueError, match="maps of classes"):
        tok.encode(torch.rand(3, 32, 32))
    with pytest.raises(ValueError, match="outside 0..14"):
        tok.encode(torch.full((32, 32), 15))
    with pytest.raises(ValueError, match="maps of classes"):
        tok.encode(torch.zeros(2, 3, 32, 32, dtype=torch.int64))
    features = load_reference(reference_folder("image", "4m-features"))
    with pytest.raises(ValueError, match=r"C=20"):
        features.encode(torch.rand(3, 32, 32))
    with pytest.raises(ValueError, match="takes maps"):
        features.encode([torch.rand(20, 32)])


def test_depth_is_a_map():
    """One channel may be edges or depth; a key of ours says which. Depth is not clipped to -1..1."""
    config, state, _ = parts("4m-divae")
    config |= {"n_channels": 1}
    layout = converter("4m-divae")
    assert layout.family_for(layout.own_config(config)) == "fourm_divae"
    assert layout.family_for(layout.own_config({**config, "input": "map"})) == "fourm_divae_maps"
    assert layout.family_for(layout.own_config({**config, "n_channels": 4})) == "fourm_divae_maps"
    state["encoder.proj.weight"] = state["encoder.proj.weight"][:, :1]
    for name, axis in (("input_blocks.0.0.weight", 1), ("out.2.weight", 0), ("out.2.bias", 0)):
        value = state[f"decoder.{name}"]
        keep = [*range(4), *range(12, value.shape[axis])] if axis else [*range(4)]  # 2 x 2 pixels of one channel, and the codes
        state[f"decoder.{name}"] = value.index_select(axis, torch.tensor(keep))
    tok = convert("4m-divae", {**config, "input": "map"}, state)
    assert isinstance(tok, FourMDiVAEMaps) and tok.spec.modality == "latent"
    depth = 3 * torch.randn(1, 19, 30)
    tokens = tok.encode(depth)
    assert tokens.grid == (3, 4) and tok.decode(tokens, steps=2).shape == (1, 1, 19, 30)
    with pytest.raises(ValueError, match="n_labels"):
        layout.own_config({**config, "n_labels": 9})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"enc_type": "BottleneckMLP/B_2"}, "no tower"),
        ({"dec_type": "vit_x_dec"}, "dec_type"),
        ({"patch_proj": True, "dec_type": "BottleneckMLP/B_2-Wi_32"}, "another size"),
        ({"undo_std": True}, "n_channels is 20"),
        ({"num_codebooks": 2}, "num_codebooks"),
        ({"norm_codes": False, "norm_latents": True}, "norm_latents"),
    ],
)
def test_what_is_not_supported_is_said(change, said):
    config, state, _ = parts("4m-features")
    with pytest.raises(ValueError, match=said):
        convert("4m-vqvae", {**config, **change}, state)


def test_pictures_and_files_of_classes(tmp_path):
    """Grey or with a palette, open or not: the same ids as the numbers."""
    tok = load_reference(reference_folder("image", "4m-semseg"))
    classes = parts("4m-semseg")[2]["input"][0]
    ids = tok.encode(classes).ids
    grey = Image.fromarray(classes.numpy().astype(np.uint8))
    palette = grey.copy()
    palette.putpalette([255 - i % 256 for i in range(768)])
    for i, picture in enumerate((grey, palette)):
        picture.save(path := tmp_path / f"{i}.png")
        for medium in (picture, path, str(path), path.read_bytes(), [picture], [path, picture]):
            assert all(torch.equal(row, ids[0]) for row in tok.encode(medium).ids)
        with path.open("rb") as file:
            assert torch.equal(tok.encode(file).ids, ids)
    with pytest.raises(MediaError, match="mode RGB"):
        tok.encode(grey.convert("RGB"))
    with pytest.raises(FileNotFoundError):
        tok.encode(tmp_path / "none.png")
    with pytest.raises(MediaError, match="outside 0..14"):
        tok.encode(grey.point(lambda value: value + 1))
