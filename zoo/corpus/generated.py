"""Ids as a generator writes them, for each item of a corpus: what a decoder is trained on further to read (`model.ids`).

RobusTok ("Image Tokenizer Needs Post-Training", arXiv 2509.12474; qiuk2/RobusTok @ c4c6760a70: post_train_data.py, `generate` of
RAR/rar.py): a generator goes through the ids of a real picture from first to last. A position keeps its true id with probability sigma
= 0.7, else its id is drawn from the model, given all ids before it, true and drawn. So the picture remains near enough to the real one
to be compared with it, and its mistakes are a generator's.

    tokenzoo lm lm/photos tokens=tokens output=runs/lm                    # a language model on shards of tokens
    tokenzoo corpus generate runs/lm tokens/train --out generated --keep 0.7
    tokenzoo train my.yaml 'data.partners.generated={kind: ids, folder: generated}' model.ids=generated

Differs: the authors' generator knows the picture's class and is guided by it; that of `tokenzoo lm` knows nothing but the ids before.
They store decoded pictures, which the frozen encoder reads again in training; here the ids themselves are stored.

Letters: B batch, K codebooks, L token positions, S steps of a sequence, V ids of a codebook.
"""

import io
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...codecs.config import ConfigError
from ...codecs.files import write_bytes
from ...codecs.tokens import Tokens
from .dataset import TokenDataset
from .files import CorpusError, read_json, write_json
from .models.base import load_generator
from .models.llama import LlamaModel
from .packing.base import Packing
from .sampling import cache_name


@dataclass(frozen=True, kw_only=True)
class GeneratedConfig:
    """How ids are drawn.

    Attributes:
        keep: sigma, probability that a position keeps its true ids.
        temperature: 0 takes the likeliest id.
        top_k: draw among this many likeliest ids; 0: among all.
        seed: of the draws, which for each item follow from it and the item's number.
        batch: items that go through the model together.
    """

    keep: float = 0.7
    temperature: float = 1.0
    top_k: int = 0
    seed: int = 0
    batch: int = 32

    def __post_init__(self) -> None:
        if not 0 <= self.keep <= 1 or self.temperature < 0:
            raise ConfigError(f"keep is {self.keep}, temperature {self.temperature}; allowed: 0 to 1, and 0 or more.")
        if self.top_k < 0 or self.seed < 0 or self.batch < 1:
            raise ConfigError(f"top_k is {self.top_k}, seed {self.seed}, batch {self.batch}; allowed: 0 or more twice, 1 or more.")


@dataclass(frozen=True, kw_only=True)
class Generated:
    """What was written: `items` files, in which the share `changed` of all ids is not the true one."""

    items: int
    changed: float


def generate(
    lm: str | Path,
    tokens: str | Path,
    out: str | Path,
    *,
    config: GeneratedConfig = GeneratedConfig(),
    device: str | torch.device = "cpu",
    limit: int = 0,
    say: Callable[[str], None] = lambda text: None,
) -> Generated:
    """Write generated ids `[K, L]` of each item as `OUT/KEY.npy`, KEY being its key without the ending, and `OUT/generated.json`.

    Args:
        lm: folder that `tokenzoo lm` wrote.
        tokens: folder of the corpus; its tokenizer must be the one that the model was trained on.
        out: folder, made if missing; files in it are replaced.
        config: how ids are drawn.
        device: of the model.
        limit: only the first items, this many; 0: all.
        say: called with a line of progress.

    Raises:
        CorpusError: no such folders, or ids of another tokenizer.
        ConfigError: a model of another kind than llama, or one that was trained on windows of pictures.
    """
    lm, out = Path(lm), Path(out)
    if not (lm / "report.json").is_file():
        raise CorpusError(f"{lm} holds no report.json; name the output folder of a finished run of `tokenzoo lm`.")
    generator, report = load_generator(lm / "model"), read_json(lm / "report.json")
    if not isinstance(generator, LlamaModel):
        raise ConfigError(f"the model in {lm} is of kind {generator.config.kind}; this needs kind llama, which draws one id a step.")
    packing = generator.packing
    data = TokenDataset(tokens, packing=packing, seed=None)
    if data.manifest["tokenizer"]["sha256"] != report["tokenizer_sha256"]:
        raise CorpusError(f"{tokens} holds ids of another tokenizer than the one that the model in {lm} was trained on.")
    generator.to(device).eval()
    model, number = generator.net, min(limit or data.documents, data.documents)
    window, changed, total = tuple(report["config"].get("window", ())), 0, 0
    for items in _alike(data, number, config.batch):
        truth = Tokens.cat([data.tokens(i) for i in items])
        if window and window != tuple(truth.grid)[-2:]:
            raise ConfigError(
                f"the model in {lm} was trained on windows of {window}, the pictures have grids of {tuple(truth.grid)}; train it with "
                "`window` as large as the grid."
            )
        drawn = rewritten(model, packing, truth, config=config, items=items)
        changed, total = changed + int((drawn != truth.ids).sum()), total + drawn.numel()
        for i, ids in zip(items, drawn, strict=True):
            _write(_path(out, data.metadata(i)["key"]), ids)
        say(f"{items[-1] + 1} of {number} items")
    made = Generated(items=number, changed=changed / max(total, 1))
    write_json(out / "generated.json", {"tokenizer": data.manifest["tokenizer"]["name"], "config": asdict(config), **asdict(made)})
    return made


@torch.no_grad()
def rewritten(model: Any, packing: Packing, truth: Tokens, *, config: GeneratedConfig, items: list[int]) -> Tensor:
    """Ids int64 `[B, K, L]`, of which some positions are the true ones and the others are drawn by the model.

    Args:
        model: a causal model of transformers.
        packing: of the model, with one id a step. Codebooks beyond those that it takes keep their true ids.
        truth: ids `[B, K, L]` of items of one length and one grid.
        config: how ids are drawn.
        items: numbers of the items, from which, with the seed, the draws follow.
    """
    device, books = next(model.parameters()).device, len(packing.vocab_sizes)
    packed = packing.pack(truth.first(codebooks=books))
    ids, steps = packed.input_ids.to(device), packing.steps_of(truth.ids.shape[2], packed.side.grid_of(0))  # [B, S], [K, L]
    book_of = torch.full((ids.shape[1],), -1)
    for k, own in enumerate(steps):
        book_of[own] = k
    kept = torch.ones(ids.shape, dtype=torch.bool)
    chance = torch.zeros(ids.shape, dtype=torch.float64)
    for row, item in enumerate(items):
        rng = np.random.default_rng((config.seed, item))
        kept[row, steps] = torch.from_numpy(rng.random(steps.shape[1]) < config.keep)  # all ids of a position, or none
        chance[row] = torch.from_numpy(rng.random(ids.shape[1]))
    kept, chance = kept.to(device), chance.to(device)
    vocabulary, name, cache = packing.vocabulary, cache_name(model), None
    offsets, sizes = vocabulary.offsets(packing.config.tokenizer), vocabulary.books(packing.config.tokenizer).vocab_sizes
    for step in range(1, ids.shape[1]):
        result = model(input_ids=ids[:, step - 1 : step], use_cache=True, **{name: cache})
        cache, book = getattr(result, name), int(book_of[step])
        if book < 0:  # begin, end and the ends of rows
            continue
        logits = result.logits[:, -1, offsets[book] : offsets[book] + sizes[book]]
        ids[:, step] = torch.where(kept[:, step], ids[:, step], offsets[book] + _drawn(logits, chance[:, step], config))
    found = truth.ids.clone()
    found[:, :books] = packing.unpack(ids.cpu(), side=packed.side).tokens.ids
    return found


def _drawn(logits: Tensor, chance: Tensor, config: GeneratedConfig) -> Tensor:
    """An id of each row of logits `[B, V]`, drawn by numbers `[B]` in 0..1."""
    if config.temperature == 0:
        return logits.argmax(1)
    scores = logits.double() / config.temperature
    if 0 < config.top_k < scores.shape[1]:
        least = scores.topk(config.top_k, dim=1).values[:, -1:]
        scores = scores.masked_fill(scores < least, float("-inf"))
    reached = scores.softmax(1).cumsum(1)
    return (reached <= chance[:, None] * reached[:, -1:]).sum(1).clamp(max=scores.shape[1] - 1)


def _alike(data: TokenDataset, number: int, most: int) -> Iterator[list[int]]:
    """Numbers of the first documents in groups of one length and one grid, each group no larger than `most`."""
    group: list[int] = []
    key = None
    for i in range(number):
        found = data.tokens(i)
        own = (found.ids.shape[2], tuple(found.grid))
        if group and (own != key or len(group) == most):
            yield group
            group = []
        key = own
        group.append(i)
    if group:
        yield group


def _path(out: Path, key: str) -> Path:
    """The file of an item below `out`; raises CorpusError for keys that would lead out of it."""
    stem = os.path.splitext(key)[0].lstrip("/")
    if ".." in Path(stem).parts:
        raise CorpusError(f"the corpus names an item {key!r}, which would be written outside of {out}; its sources need one folder.")
    return out / f"{stem}.npy"


def _write(path: Path, ids: Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = io.BytesIO()
    np.save(data, ids.numpy().astype(np.int32))
    write_bytes(path, data.getvalue())
