"""What the tests of the audio ports share: stored cases, tolerances, streams, and foreign layouts made on the spot."""

import json
import math
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from reference import load_io, reference_folder
from safetensors.torch import save_file
from tokenzoo.codecs.tokenizer import Tokenizer
from tokenzoo.codecs.tokens import Tokens
from tokenzoo.zoo.convert import load_reference
from torch import Tensor, nn


def close(got: Tensor, want: Tensor, atol: float) -> None:
    """Equal within `atol` and one part in 10^4."""
    torch.testing.assert_close(got, want, atol=atol, rtol=1e-4)


def stored(system: str) -> Iterator[tuple[Tokenizer, str, dict[str, Tensor]]]:
    """The tokenizer, the name and the tensors of every stored case of `system` (skips where they are not there)."""
    folder = reference_folder("audio", system)
    tok, io = load_reference(folder), load_io(folder)
    for name in sorted({k.split(".")[0] for k in io}):
        yield tok, name, {k[len(name) + 1 :]: v for k, v in io.items() if k.startswith(name + ".")}


def stream_ids(tok: Tokenizer, x: Tensor, size: int) -> list[Tokens]:
    """Push `x` in pieces of `size` samples; everything that came out, the end included."""
    stream = tok.stream()
    out = [t for piece in x.split(size, dim=-1) if (t := stream.push(piece)) is not None]
    return out + ([t] if (t := stream.flush()) is not None else [])


def stream_audio(tok: Tokenizer, parts: list[Tokens]) -> Tensor:
    """Decode `parts` one after the other."""
    stream = tok.stream()
    return torch.cat([stream.decode(t, last=i == len(parts) - 1) for i, t in enumerate(parts)], dim=-1)


def shake(model: nn.Module) -> nn.Module:
    """Move everything that starts at a constant, and fill tables, so that nothing drops out of a comparison."""
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim <= 1 or name.endswith(("alpha", "_g", "original0")):
                p.add_(0.1 * torch.randn(p.shape, generator=g))
        for name, b in model.named_buffers():
            if name.endswith(".embed"):
                b.copy_(0.3 * torch.randn(b.shape, generator=g))
    return model.eval()


def as_folder(tmp_path: Path, system: str, config: dict, state: dict[str, Tensor]) -> Tokenizer:
    """Write a foreign layout of `system` and load it as a reference."""
    folder = tmp_path / system
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_file({k: v.clone().contiguous() for k, v in state.items()}, folder / "weights.safetensors")
    return load_reference(folder)


def noise(*shape: int) -> Tensor:
    """The same test signal every time."""
    return 0.3 * torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def drawn_weight(name: str, shape: tuple[int, ...]) -> Tensor:
    """The value of the authors' key `name`, the same wherever it is made."""
    drawn = np.random.RandomState(zlib.crc32(name.replace("embed_avg", "embed").encode())).standard_normal(shape)
    n = torch.from_numpy(np.asarray(drawn)).float()
    if name.endswith("initted"):
        return torch.ones(shape, dtype=torch.bool)
    if name.endswith("window"):
        return torch.hann_window(*shape)
    if name.endswith("cluster_size"):
        return torch.ones(shape)
    if name.endswith((".embed", ".embed_avg")):
        return 0.7 * n
    if name.endswith("query_embedding"):
        return 0.2 * n
    if name.endswith(("original0", "weight_g", "alpha", "gamma", ".scale")) or (name.endswith("weight") and n.ndim == 1):
        return 1 + 0.2 * n
    return 0.1 * n if n.ndim == 1 else n * 1.3 / math.sqrt(n[0].numel())
