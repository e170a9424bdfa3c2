"""Ids as a generator writes them: which ids stay, what the others are drawn from, and the files that training reads.

    pytest tests/zoo/corpus/test_generated.py
"""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from corpus_cases import lively, make
from PIL import Image
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.tokens import Tokens
from tokenzoo.train.data.config import PartnerConfig
from tokenzoo.train.data.images import ImageDataConfig
from tokenzoo.train.data.loader import Clips
from tokenzoo.zoo.corpus.dataset import TokenDataset
from tokenzoo.zoo.corpus.files import CorpusError
from tokenzoo.zoo.corpus.generated import GeneratedConfig, generate, rewritten
from tokenzoo.zoo.corpus.models.llama import LlamaModelConfig
from tokenzoo.zoo.corpus.packing import InterleavedConfig
from tokenzoo.zoo.corpus.vocabulary import Books, Vocabulary
from torch import nn

SIZES = (8, 8)


class Counts(nn.Module):
    """A causal model whose logits are highest for the id after the last one (in turns of the codebook), `seen` being the sequence."""

    def __init__(self, pack):
        super().__init__()
        self.weight, self.pack, self.seen = nn.Parameter(torch.zeros(1)), pack, []

    def forward(self, input_ids, past_key_values, use_cache):
        self.seen.append(input_ids[:, -1])
        size = self.pack.vocabulary.size
        logits = torch.zeros(len(input_ids), 1, size)
        for k, first in enumerate(self.pack.vocabulary.offsets("x")):
            last = self.seen[-1] - self.pack.vocabulary.offsets("x")[1 - k]
            logits[torch.arange(len(input_ids)), 0, first + (last.clamp(0) + 1) % SIZES[k]] = 5.0
        return SimpleNamespace(logits=logits, past_key_values=self)


def packing():
    media = (Books(name="x", modality="image", vocab_sizes=SIZES),)
    return InterleavedConfig(tokenizer="x", vocabulary=Vocabulary(text_size=0, media=media)).build()


def tokens(batch=3, length=200):
    ids = torch.randint(SIZES[0], (batch, 2, length), generator=torch.Generator().manual_seed(0))
    return Tokens(ids=ids, vocab_sizes=SIZES, grid=(length // 10, 10))


def run(truth, items, **config):
    pack = packing()
    model = Counts(pack)
    return rewritten(model, pack, truth, config=GeneratedConfig(**config), items=items), model


def test_positions_keep_all_their_ids_or_draw_them_after_the_ids_before():
    truth = tokens()
    found, model = run(truth, [0, 1, 2], keep=0.7, temperature=0.0)
    stays = (found == truth.ids).all(1)  # [B, L]
    assert 0.6 < float(stays.float().mean()) < 0.8
    flat = found.transpose(1, 2).flatten(1)  # the steps after the begin token
    follows = flat[:, 1:] == (flat[:, :-1] + 1) % 8
    drawn = ~stays.repeat_interleave(2, 1)[:, 1:]
    assert bool(follows[drawn].all()), "an id that is drawn is the likeliest one after the ids before it, drawn or true"
    assert torch.equal(torch.stack(model.seen, 1)[:, 1:], packing().pack(Tokens(ids=found, vocab_sizes=SIZES)).input_ids[:, 1:-1])
    assert torch.equal(run(truth, [0, 1, 2], keep=1.0)[0], truth.ids)


def test_draws_follow_from_seed_and_item_and_from_the_models_probabilities():
    truth = tokens()
    whole = run(truth, [5, 6, 7], keep=0.5)[0]
    assert torch.equal(whole[1:2], run(truth[1:2], [6], keep=0.5)[0])
    assert not torch.equal(whole, run(truth, [5, 6, 7], keep=0.5, seed=1)[0])
    drawn = run(truth, [0, 1, 2], keep=0.0)[0].transpose(1, 2).flatten(1)
    likely = float((drawn[:, 1:] == (drawn[:, :-1] + 1) % 8).float().mean())
    assert abs(likely - float(np.exp(5) / (np.exp(5) + 7))) < 0.03
    again = run(truth, [0, 1, 2], keep=0.0, top_k=1)[0].transpose(1, 2).flatten(1)
    assert bool((again[:, 1:] == (again[:, :-1] + 1) % 8).all())


def test_settings_are_checked():
    for wrong in ({"keep": 1.5}, {"temperature": -1.0}, {"batch": 0}, {"top_k": -1}):
        with pytest.raises(ConfigError):
            GeneratedConfig(**wrong)


@pytest.fixture
def folders(tmp_path):
    """A corpus of six pictures in two folders, and a folder as `tokenzoo lm` writes it, with an untrained model."""
    pytest.importorskip("transformers")
    for i in range(6):
        path = tmp_path / "in" / f"sub{i % 2}" / f"p{i}.jpg.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
    make(lively("convnet"), tmp_path / "in", tmp_path / "tokens")
    data, lm = TokenDataset(tmp_path / "tokens", seed=None), tmp_path / "lm"
    torch.manual_seed(0)
    LlamaModelConfig(width=16, layers=1, heads=2).build(data.packing).save(lm / "model")
    report = {"config": {"window": []}, "tokenizer_sha256": data.manifest["tokenizer"]["sha256"]}
    (lm / "report.json").write_text(json.dumps(report))
    return tmp_path, data, report


def test_files_are_partners_of_the_pictures(folders):
    folder, data, _ = folders
    made = generate(folder / "lm", folder / "tokens", folder / "out", config=GeneratedConfig(keep=0.5, batch=4))
    assert made.items == 6 and 0.3 < made.changed < 0.6 and (folder / "out/generated.json").is_file()
    partners = {"ids": PartnerConfig(kind="ids", folder=str(folder / "out"))}
    config = ImageDataConfig(crop=16, cover=(1.0, 1.0), place="center", flip=False, partners=partners)
    clips = Clips(str(folder / "in"), config.media(lively("convnet").spec), config, seed=0, train=False)
    for i in range(6):
        name, ids = clips.names[i], clips[i].partners["ids"]
        [document] = [d for d in range(6) if name.endswith(data.metadata(d)["key"])]
        truth = data.tokens(document).ids[0]
        assert ids.shape == truth.shape and 0.2 < float((ids == truth).float().mean()) < 1
    assert generate(folder / "lm", folder / "tokens", folder / "some", limit=2).items == 2
    assert len(list((folder / "some").rglob("*.npy"))) == 2


def test_other_folders_are_refused(folders):
    folder, _, report = folders
    with pytest.raises(CorpusError, match=r"holds no report\.json"):
        generate(folder / "tokens", folder / "tokens", folder / "out")
    for change, error, words in (
        ({"tokenizer_sha256": "0"}, CorpusError, "another tokenizer"),
        ({"config": {"window": [9, 9]}}, ConfigError, r"windows of \(9, 9\)"),
    ):
        (folder / "lm/report.json").write_text(json.dumps(report | change))
        with pytest.raises(error, match=words):
            generate(folder / "lm", folder / "tokens", folder / "out")
