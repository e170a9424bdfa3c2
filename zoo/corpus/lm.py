"""A small decoder-only transformer on shards of tokens: an example of use, from a folder of media to decoded samples.

    tokenzoo lm lm/speech                 # or lm/photos, or a YAML file; key=value changes a setting

One command does all of it: media to shards (`tokenize`, resumable), shards to sequences
(`TokenDataset`), sequences to a model (Llama of transformers), bits per token on held-out media beside the entropy that a
model without context reaches, samples, and the samples decoded to WAV or PNG. `OUTPUT/report.json` holds the figures.

Letters: B batch, K codebooks, L token positions, S steps of a sequence, V ids of the vocabulary.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...codecs.config import from_mapping, to_mapping
from ...codecs.tokenizer import Tokenizer
from ...codecs.tokens import Tokens
from ...train.files import find, read_mapping
from ..hub import load
from ..media_out import write_audio, write_image
from .attention import same_document
from .bulk import tokenize
from .check import entropy
from .dataset import TokenDataset, random_window
from .files import write_json
from .sampling import SamplerConfig, sample

#: What is held out where no other media are given for that.
SHARES = {"train": 0.95, "valid": 0.05}


@dataclass(frozen=True, kw_only=True)
class LMConfig:
    """One run.

    Attributes:
        tokenizer: name of the tokenizer.
        train, valid: sources of media; the held-out ones are never trained on. Without `valid` a twentieth of `train` is held
            out, chosen by the items' keys (`splits.py`).
        tokens: folder for the shards of both.
        codebooks: number of codebooks modelled, the first ones; 0: all. The decoder works without the others.
        window: `(h, w)`: pictures are trained on random windows of their grids, and samples have this shape.
        block: steps of a training sequence; with `window` each sequence is one window instead.
        width, layers, heads: of the transformer.
        steps, batch_size, lr: of training; AdamW, linear warm-up over a tenth of the steps, cosine to a tenth of `lr`.
        valid_samples: held-out sequences that are measured.
        samples, positions: how many samples are drawn, and of how many token positions.
        prompt: each sample continues the first `prompt` positions of a held-out item; 0: unconditional.
        sampler: how ids are drawn; with `draft` in fewer passes of the model, see `sampling.py`.
        seed, threads, output: as their names say.
    """

    tokenizer: str
    train: str
    tokens: str
    output: str
    valid: str = ""
    codebooks: int = 0
    window: tuple[int, ...] = ()
    block: int = 512
    width: int = 192
    layers: int = 4
    heads: int = 4
    steps: int = 1000
    batch_size: int = 8
    lr: float = 2e-3
    valid_samples: int = 64
    samples: int = 4
    positions: int = 250
    prompt: int = 0
    sampler: SamplerConfig = SamplerConfig()
    seed: int = 0
    threads: int = 1


def main(config: str, overrides: Sequence[str]) -> dict[str, Any]:
    """Do a whole run; returns the report."""
    c = from_mapping(LMConfig, read_mapping(find(config, among=("lm/speech", "lm/photos")), overrides))
    torch.set_num_threads(c.threads)
    out = Path(c.output)
    out.mkdir(parents=True, exist_ok=True)
    parts = ("train", "valid") if c.valid else ("train",)
    for part in parts:
        tokenize(c.tokenizer, getattr(c, part), Path(c.tokens) / part)
    train, valid = (open_tokens(Path(c.tokens) / part, c) for part in parts) if c.valid else split_tokens(Path(c.tokens) / "train", c)
    model, loss = fit(train, c, say=lambda text: print(text, flush=True))
    model.save_pretrained(out / "model")
    train.packing.save(out / "packing.json")
    figures = {"train_bits": loss / math.log(2), **measure(model, train, valid, c)}
    print(f"{figures['bits']:.3f} bits a token on held-out media; without context {figures['unigram_bits']:.3f}")
    report = {"config": to_mapping(c), "tokenizer_sha256": train.manifest["tokenizer"]["sha256"]}
    report |= {"parameters": sum(p.numel() for p in model.parameters()), **figures}
    write_json(out / "report.json", report)
    tokenizer, books = load(c.tokenizer), len(train.packing.vocab_sizes)
    codes = [tokenizer.quantizer.code_vectors(k) for k in range(books)] if c.sampler.group_distance else []
    for i in range(c.samples):
        prompt = valid.tokens(i).first(codebooks=c.codebooks or None, positions=c.prompt) if c.prompt else None
        drawn = sample(model, train.packing, c.positions, prompt, config=c.sampler, seed=c.seed + i, codes=codes)
        path = write_sample(tokenizer, drawn.tokens, c.window, out / f"sample-{i}")
        print(f"{path}: {drawn.steps} ids in {drawn.passes} passes")
    return report


def open_tokens(folder: Path, c: LMConfig, split: str | None = None) -> TokenDataset:
    """Open the shards, or one part of them, as a data set of training sequences."""
    return TokenDataset(
        folder,
        block=0 if c.window else c.block,
        seed=c.seed,
        codebooks=c.codebooks or None,
        transform=random_window(c.window[0], c.window[1]) if c.window else None,
        split=split,
        splits=SHARES,
    )


def split_tokens(folder: Path, c: LMConfig) -> tuple[TokenDataset, TokenDataset]:
    """Training and held-out sequences of one folder of shards."""
    return open_tokens(folder, c, "train"), open_tokens(folder, c, "valid")


def build_model(size: int, c: LMConfig) -> Any:
    """A Llama with tied embeddings over `size` ids."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(c.seed)
    shape: dict[str, Any] = {"hidden_size": c.width, "intermediate_size": 3 * c.width, "num_hidden_layers": c.layers}
    config = LlamaConfig(
        vocab_size=size, num_attention_heads=c.heads, max_position_embeddings=2**16, tie_word_embeddings=True, **shape
    )
    return LlamaForCausalLM(config)


def losses(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Loss in nats of every labelled step, and its target, both `[n]`; no step attends to another document."""
    logits = model(
        input_ids=batch["input_ids"],
        attention_mask=same_document(batch["document_ids"]),
        position_ids=batch["position_ids"],
        use_cache=False,
    ).logits  # [B, S, V]
    targets = batch["labels"][:, 1:]
    kept = targets != -100
    return F.cross_entropy(logits[:, :-1][kept].float(), targets[kept], reduction="none"), targets[kept]


def fit(data: TokenDataset, c: LMConfig, *, say: Callable[[str], None] = lambda text: None) -> tuple[Any, float]:
    """Train; returns the model and the mean loss of the last tenth of the steps, in nats a token."""
    model = build_model(data.vocab_size, c).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=c.lr, betas=(0.9, 0.95), weight_decay=0.05)
    warm = max(1, c.steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min((s + 1) / warm, 0.55 + 0.45 * math.cos(math.pi * s / c.steps))
    )
    history: list[float] = []
    every = max(1, min(50, c.steps // 20))
    start = time.monotonic()
    for step, batch in zip(range(c.steps), data.loader(c.batch_size), strict=False):
        loss = losses(model, batch)[0].mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        history.append(loss.item())
        if (step + 1) % every == 0 or step + 1 == c.steps:
            bits = float(np.mean(history[-every:])) / math.log(2)
            say(f"step {step + 1} of {c.steps}: {bits:.3f} bits a token, {time.monotonic() - start:.0f} s")
    return model.eval(), float(np.mean(history[-max(1, c.steps // 10) :]))


@torch.no_grad()
def measure(model: nn.Module, train: TokenDataset, valid: TokenDataset, c: LMConfig) -> dict[str, Any]:
    """Bits a media token on held-out sequences, and the unigram entropy of the same tokens.

    Returns:
        bits, bits_by_codebook; unigram_bits, unigram_bits_by_codebook: entropy of the held-out tokens' own frequencies in
        each codebook, a lower bound for any context-free model; unigram_train_bits: with frequencies counted on the training
        shards; valid_tokens: how many were measured.
    """
    packing, name = valid.packing, valid.packing.config.tokenizer
    books = len(packing.vocab_sizes)
    found: list[list[Tensor]] = [[] for _ in range(books)]
    nats = np.zeros(books)
    stop = c.valid_samples if c.window else min(c.valid_samples, len(valid))  # windows differ in every epoch
    for batch in valid.loader(c.batch_size, stop=stop):
        loss, target = losses(model, batch)
        own, book = packing.vocabulary.from_ids(name, target)
        for k in range(books):
            found[k].append(own[book == k])
            nats[k] += float(loss[book == k].sum())
    table = frequencies(train, books)
    counts = [torch.bincount(torch.cat(f), minlength=len(t)).numpy() for f, t in zip(found, table, strict=True)]
    number = np.array([n.sum() for n in counts])
    cross = [-(n * np.log2(t / t.sum())).sum() for n, t in zip(counts, table, strict=True)]
    return {
        "bits": float(nats.sum() / number.sum() / math.log(2)),
        "bits_by_codebook": [float(b) for b in nats / number / math.log(2)],
        "unigram_bits": float(sum(entropy(n) * n.sum() for n in counts) / number.sum()),
        "unigram_bits_by_codebook": [entropy(n) for n in counts],
        "unigram_train_bits": float(sum(cross) / number.sum()),
        "valid_tokens": int(number.sum()),
    }


def frequencies(data: TokenDataset, books: int) -> list[np.ndarray]:
    """Counts of each id of each codebook, plus one (Laplace smoothing)."""
    out = [np.ones(v) for v in data.layout.vocab_sizes[:books]]
    for i in range(data.documents):
        ids = data.tokens(i).ids[0].numpy()
        for k in range(books):
            out[k] += np.bincount(ids[k], minlength=len(out[k]))
    return out


def write_sample(tokenizer: Tokenizer, tokens: Tokens, window: Sequence[int], path: Path) -> Path:
    """Decode tokens and write them as `path`.wav or .png; a picture that ended early is filled with its last position."""
    if tokenizer.spec.modality == "audio":
        path = path.with_suffix(".wav")
        write_audio(path, tokenizer.decode(tokens)[0], tokenizer.rate_of(tokens))  # type: ignore[attr-defined]
        return path
    height, width = window
    missing = height * width - tokens.ids.shape[2]
    ids = F.pad(tokens.ids.float(), (0, max(0, missing)), mode="replicate").long()[..., : height * width]
    whole = dataclasses.replace(tokens, ids=ids, grid=(height, width), lengths=torch.tensor([height * width]))
    path = path.with_suffix(".png")
    write_image(path, tokenizer.to_uint8(tokenizer.decode(whole)[0]))  # type: ignore[operator]
    return path
