"""Priors of ids: they learn what neighbours say, and code files of the command. Run: pytest tests/zoo/corpus/test_prior.py"""

from dataclasses import asdict

import numpy as np
import pytest
from cli_runs import run
from corpus_cases import HERE, saved, sounds
from tokenzoo import Tokens
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.entropy.prior import Prior
from tokenzoo.zoo.corpus import tokenize
from tokenzoo.zoo.corpus.files import CorpusError
from tokenzoo.zoo.corpus.prior import PriorConfig, fit_books, fit_prior

pytest.importorskip("constriction")
QUICK = PriorConfig(rank=8, epochs=3, batch_size=128, lr=0.05)


def bits(*books: np.ndarray, sizes: tuple[int, ...], planar: bool = False) -> list[float]:
    """Bits an id that a prior fitted to one item takes on it."""
    grids = [(1, a.size) if a.ndim == 1 else a.shape for a in books]
    return fit_books([([a.reshape(-1) for a in books], grids)], sizes, planar=planar, config=QUICK)[1]


def chain(count: int, *, stay: float = 0.9, size: int = 8, seed: int = 0) -> np.ndarray:
    """A Markov chain: the next id is (id * 3 + 1) % size with probability `stay`, else any."""
    dice, out = np.random.default_rng(seed), [0]
    for _ in range(count - 1):
        out.append((out[-1] * 3 + 1) % size if dice.random() < stay else int(dice.integers(size)))
    return np.array(out)


def test_noise_takes_all_its_bits():
    assert bits(np.random.default_rng(0).integers(0, 8, 6000), sizes=(8,))[0] == pytest.approx(3, abs=0.03)


def test_a_chain_takes_its_entropy():
    share = np.array([0.9 + 0.1 / 8, *[0.1 / 8] * 7])
    assert bits(chain(6000), sizes=(8,))[0] == pytest.approx(float(-(share * np.log2(share)).sum()), abs=0.12)


def test_a_codebook_that_follows_from_another_takes_next_to_nothing():
    first = np.random.default_rng(0).integers(0, 8, 4000)
    found = bits(first, (first * 5 + 2) % 8, np.zeros(4000, np.int64), sizes=(8, 8, 1))
    assert found[0] == pytest.approx(3, abs=0.05) and found[1] < 0.1 and found[2] == 0


def test_pictures_look_above():
    dice = np.random.default_rng(2)
    grid = np.zeros((40, 60), np.int64)
    grid[0] = dice.integers(0, 8, 60)
    for y in range(1, 40):
        grid[y] = (grid[y - 1] * 3 + 1) % 8
    flat = bits(grid, sizes=(8,), planar=False)[0]
    assert bits(grid, sizes=(8,), planar=True)[0] < 0.3 < 1 < flat


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prior")
    tokenize(saved("spectral", folder / "model"), sounds(folder / "in", 6), folder / "tokens", pace=HERE)
    return folder


def test_from_a_corpus_to_files_and_back(corpus, tmp_path):
    ran = run("corpus", "prior", corpus / "tokens", "-o", tmp_path / "my.prior", "--rank", 4, "--name", "mine")
    assert ran.code == 0 and "prior 'mine'" in ran.out and "on this corpus" in ran.out
    model = f"file:{corpus / 'model'}"
    assert run("encode", model, corpus / "in", "-o", tmp_path / "plain").code == 0
    assert run("encode", model, corpus / "in", "-o", tmp_path / "coded", "--prior", tmp_path / "my.prior").code == 0
    prior = Prior.load(tmp_path / "my.prior")
    files = sorted((tmp_path / "coded").rglob("*.tok"))
    assert len(files) == 6
    for file in files:
        plain = Tokens.load(tmp_path / "plain" / file.relative_to(tmp_path / "coded"))
        assert Tokens.load(file, prior=prior) == plain and prior.tokenizer == asdict(plain.tokenizer)
    refused = run("decode", model, files[0], "-o", tmp_path / "out")
    assert refused.code == 1 and "coded with the prior 'mine'" in refused.err
    assert run("decode", model, files[0], "-o", tmp_path / "out", "--prior", tmp_path / "my.prior").code == 0


def test_the_same_corpus_gives_the_same_prior(corpus):
    config = PriorConfig(rank=2, epochs=1)
    one, two = (fit_prior(corpus / "tokens", config=config)[0] for _ in range(2))
    assert one.fingerprint == two.fingerprint and one.name == "model"


def test_what_cannot_be_fitted(corpus, tmp_path):
    for wrong in ({"rank": 0}, {"rank": 300}, {"epochs": 0}, {"lr": 0.0}, {"lr": float("nan")}, {"most_ids": 0}):
        with pytest.raises(ConfigError, match="allowed:"):
            PriorConfig(**wrong)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.wav").write_bytes(b"")
    tokenize(f"file:{corpus / 'model'}", tmp_path / "in", tmp_path / "out", pace=HERE)
    with pytest.raises(CorpusError, match="holds no ids"):
        fit_prior(tmp_path / "out")
