"""A small language model on shards of tokens: an example of use, from a folder of media to decoded samples.

    tokenzoo lm lm/speech                 # or another bundled run, or a YAML file; key=value changes a setting

One command does all of it: media to shards (`tokenize`, resumable), shards to sequences
(`TokenDataset`), sequences to a model (`models/`: four kinds), bits per token on held-out media beside the entropy that a
model without context reaches, samples, and the samples decoded to WAV or PNG. `OUTPUT/report.json` holds the figures.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from ...codecs.config import ConfigError, from_mapping, to_mapping
from ...codecs.modalities import is_pictures, is_sound
from ...codecs.options import parse_options
from ...codecs.tokenizer import Tokenizer
from ...codecs.tokens import Tokens
from ...train.files import find, read_mapping
from ..hub import load
from ..media_out import write_audio, write_image
from .bulk import tokenize
from .dataset import TokenDataset, random_window
from .files import write_json
from .models.base import GeneratorConfig
from .models.fit import fit
from .models.llama import LlamaModelConfig
from .models.measure import measure
from .options import Options
from .sampling import SamplerConfig

#: The runs that ship with the package.
BUNDLED = (
    "lm/speech",
    "lm/photos",
    "lm/photos-per-dimension",
    "lm/photos-masked",
    "lm/tokenbridge",
    "lm/cubid",
    "lm/elm",
    "lm/instella",
)
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
        encode, decode: options of the tokenizer's `encode` and `decode`, as text by name: `{resize: crop}`, `{size: "256,256"}`.
        codebooks: number of codebooks modelled, the first ones; 0: all. The decoder works without the others.
        window: `(h, w)`: pictures, and all frames of clips, are trained on random windows of their grids, and samples have this shape.
        block: steps of a training sequence; with `window` each sequence is one window instead, and with neither (0) one document.
        model: the kind of model and its settings, see `models/`.
        steps, batch_size, lr: of training; AdamW, linear warm-up over a tenth of the steps, cosine to a tenth of `lr`.
        valid_samples: held-out sequences that are measured.
        samples, positions: how many samples are drawn, and of how many token positions.
        prompt: each sample continues the first `prompt` positions of a held-out item; 0: unconditional.
        sampler: how ids are drawn; with `draft` (kind llama) or `passes` (kind masked) in fewer passes of the model.
        seed, threads, output: as their names say.
    """

    tokenizer: str
    train: str
    tokens: str
    output: str
    valid: str = ""
    encode: dict[str, str] = field(default_factory=dict)
    decode: dict[str, str] = field(default_factory=dict)
    codebooks: int = 0
    window: tuple[int, ...] = ()
    block: int = 512
    model: GeneratorConfig = LlamaModelConfig()
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

    def __post_init__(self) -> None:
        self.model.check(self.sampler)
        if self.window and (len(self.window) != 2 or min(self.window) < 1):
            raise ConfigError(f"window is {list(self.window)}; give two positive numbers, (h, w) in positions, or leave it empty.")


def main(config: str, overrides: Sequence[str]) -> dict[str, Any]:
    """Do a whole run; returns the report."""
    c = from_mapping(LMConfig, read_mapping(find(config, among=BUNDLED), overrides), own=True)
    torch.set_num_threads(c.threads)
    out = Path(c.output)
    out.mkdir(parents=True, exist_ok=True)
    parts = ("train", "valid") if c.valid else ("train",)
    for part in parts:
        tokenize(c.tokenizer, getattr(c, part), Path(c.tokens) / part, options=Options(encode=c.encode))
    train, valid = (open_tokens(Path(c.tokens) / part, c) for part in parts) if c.valid else split_tokens(Path(c.tokens) / "train", c)
    model, loss = train_model(train, c, say=lambda text: print(text, flush=True))
    model.save(out / "model")
    train.packing.save(out / "packing.json")
    figures = {"train_bits": loss / math.log(2), **measure_model(model, train, valid, c)}
    print(f"{figures['bits']:.3f} bits a token on held-out media; without context {figures['unigram_bits']:.3f}")
    print(f"bits a token are {figures['bits_mean']}")
    report = {"config": to_mapping(c), "tokenizer_sha256": train.manifest["tokenizer"]["sha256"]}
    report |= {"parameters": sum(p.numel() for p in model.parameters()), **figures}
    write_json(out / "report.json", report)
    tokenizer, books = load(c.tokenizer), len(train.packing.vocab_sizes)
    codes = [tokenizer.quantizer.code_vectors(k) for k in range(books)] if c.sampler.group_distance else []
    for i in range(c.samples):
        prompt = valid.tokens(i).first(codebooks=c.codebooks or None, positions=c.prompt) if c.prompt else None
        drawn = model.sample(c.positions, prompt, config=c.sampler, seed=c.seed + i, codes=codes)
        path = write_sample(tokenizer, drawn.tokens, c, out / f"sample-{i}")
        print(f"{path}: {drawn.steps} ids in {drawn.passes} passes")
    return report


def open_tokens(folder: Path, c: LMConfig, split: str | None = None) -> TokenDataset:
    """Open the shards, or one part of them, as a data set of training sequences."""
    return TokenDataset(
        folder,
        packing=c.model.choice(),
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


def train_model(data: TokenDataset, c: LMConfig, *, say: Callable[[str], None] = lambda text: None) -> tuple[Any, float]:
    """Train the model of a run; see `models/fit.py`."""
    return fit(data, c.model, steps=c.steps, batch_size=c.batch_size, lr=c.lr, seed=c.seed, say=say)


def measure_model(model: Any, train: TokenDataset, valid: TokenDataset, c: LMConfig) -> dict[str, Any]:
    """Figures of the model of a run; see `models/measure.py`."""
    return measure(model, train, valid, samples=c.valid_samples, batch_size=c.batch_size, seed=c.seed)


def write_sample(tokenizer: Tokenizer, tokens: Tokens, c: LMConfig, path: Path) -> Path:
    """Decode tokens and write them as `path`.wav or .png; a window that ended early is filled with its last position."""
    options = parse_options(tokenizer, "decode", c.decode)
    if is_sound(tokenizer):
        path = path.with_suffix(".wav")
        write_audio(path, tokenizer.decode(tokens, options)[0], tokenizer.rate_of(tokens))
        return path
    assert is_pictures(tokenizer)
    if c.window:
        count = math.prod(c.window)
        frames = (max(1, -(-tokens.ids.shape[2] // count)),) if tokenizer.spec.clips else ()
        whole = math.prod((*frames, count))
        ids = F.pad(tokens.ids.float(), (0, max(0, whole - tokens.ids.shape[2])), mode="replicate").long()[..., :whole]
        tokens = dataclasses.replace(tokens, ids=ids, grid=(*frames, *c.window), lengths=torch.tensor([whole]))
    path = path.with_suffix(".png")
    write_image(path, tokenizer.to_uint8(tokenizer.decode(tokens, options)[0]))
    return path
