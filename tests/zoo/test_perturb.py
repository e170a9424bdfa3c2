"""Reconstruction from ids of which some are wrong: `eval --perturb`. Run: pytest tests/zoo/test_perturb.py"""

import contextlib

import pytest
import tokenzoo
import torch
from cli_runs import run
from families import TINY
from quantizer_checks import FITTED, SETTINGS
from small_runs import write_photo
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.quantizers import build
from tokenzoo.codecs.tokenizer import NotDecodable
from tokenzoo.zoo.evaluate import Perturb, evaluate
from tokenzoo.zoo.evaluate.perturb import perturbed

TRAINED = "photo-f16-rvq7"


@pytest.mark.parametrize("kind", sorted(SETTINGS))
def test_neighbours_are_the_nearest_codes(kind):
    torch.manual_seed(0)
    q = build(kind, dim=8, **SETTINGS[kind])
    if kind in FITTED:
        q.fit(torch.randn(4, 8, 16))
    q.train()(torch.randn(2, 8, 16), grid=(4, 4) if q.needs_grid else None)
    q.eval()
    for k in {0, q.num_codebooks - 1}:
        size = q.codebook_sizes[k]
        ids, vectors = torch.arange(size)[:: max(size // 7, 1)], q.code_vectors(k).double()
        assert len(vectors) == size
        near = q.neighbours(k, ids, 5)
        assert near.shape == (len(ids), min(5, size)) and torch.equal(near[:, 0], ids)
        distance = (vectors[ids, None] - vectors[None]).square().sum(-1)  # [n, V]
        torch.testing.assert_close(
            distance.gather(1, near).sort(1).values, distance.topk(near.shape[1], largest=False).values, atol=1e-6, rtol=1e-5
        )
    if not q.needs_grid and kind != "dual":  # whose codes are those of one part
        one, two = q.decode(torch.zeros(1, q.num_codebooks, 4, dtype=torch.int64))[0, :, 0], q.code_vectors(0)[0]
        torch.testing.assert_close(one, two.to(one.dtype))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photo(tmp_path_factory.mktemp("photos"))


def test_figures_fall_with_the_share_and_the_distance_of_wrong_ids(photos):
    tokenizer = tokenzoo.load(TRAINED)
    plain = evaluate(tokenizer, photos).metrics["PSNR dB"]
    found = [
        evaluate(tokenizer, photos, perturb=Perturb(rate=rate, neighbours=near)).metrics["PSNR dB"]
        for rate, near in ((0, 100), (0.3, 100), (0.9, 4), (0.9, 100))
    ]
    print(f"PSNR {plain:.2f}; perturbed {', '.join(f'{v:.2f}' for v in found)}")
    assert found[0] == plain
    assert plain > found[1] + 0.2 and plain > found[2] + 0.2 and min(found[1:3]) > found[3] + 0.2
    report = evaluate(tokenizer, photos, limit=1, perturb=Perturb(codebooks=1, seed=3))
    note = "reconstructed from perturbed ids: 90% of ids of the first 1 codebooks drawn among the 100 nearest codes (seed 3)"
    assert note in report.notes


@pytest.mark.parametrize("label", sorted(TINY))
def test_every_family_keeps_valid_ids_or_says_why_not(label):
    tokenizer = tokenzoo.build_tokenizer(*TINY[label]).eval()
    spec = tokenizer.spec
    if spec.modality == "features" or (spec.modality == "image" and getattr(spec, "channels", 3) != 3):
        pytest.skip("takes no picture and no sound")
    x = torch.rand(1, 3, 32, 32) * 2 - 1 if spec.modality == "image" else torch.randn(1, 1, 4000) * 0.1
    try:
        tokens = tokenizer.encode(x)
    except ValueError as error:
        pytest.skip(str(error))
    if tokens.vocab_sizes != tokenizer.quantizer.codebook_sizes[: tokens.num_codebooks]:
        with pytest.raises(ValueError, match="it cannot tell which ids are near"):
            perturbed(tokens, tokenizer.quantizer, Perturb(), item=0)
        return
    how = Perturb(rate=1, neighbours=4, codebooks=1 if max(tokens.vocab_sizes) > 2**16 else 0)  # large tables take seconds each
    changed = perturbed(tokens, tokenizer.quantizer, how, item=0)
    assert changed.vocab_sizes == tokens.vocab_sizes
    if not how.codebooks:
        assert torch.equal(changed.ids, perturbed(tokens, tokenizer.quantizer, how, item=0).ids)
    with contextlib.suppress(NotDecodable):
        tokenizer.decode(changed)


def test_command_line(photos):
    out = run("eval", TRAINED, str(photos), "--perturb", "rate=0.5,neighbours=8", "--limit", "1")
    assert "perturbed ids: 50% of ids drawn among the 8 nearest codes" in out.out
    for text, message in {
        "rate=2": "rate is 2", "rate": "takes key=value", "chance=1": "unknown key", "neighbours=0": "neighbours is 0",
    }.items():  # fmt: skip
        assert message in run("eval", TRAINED, str(photos), "--perturb", text).err


def test_refused():
    with pytest.raises(ConfigError, match="rate is 1.5; it is a share"):
        Perturb(rate=1.5)
