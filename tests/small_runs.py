"""Short training runs on crops of one photograph, for tests of what a training mechanism does."""

from pathlib import Path
from typing import Any

import numpy as np
import tokenzoo
import torch
from PIL import Image
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.codecs.tokenizer import Tokenizer
from tokenzoo.train.files import parse_run
from tokenzoo.train.loop import Trainer
from torch import Tensor, nn

PHOTO = Path(tokenzoo.__file__).parent / "zoo/demo/media/chelsea.png"
EDGE = 290  # column where the part that is trained on ends
MEAN, STD = 0.45, 0.15  # of its pixels in 0..1


def write_photo(folder: Path) -> Path:
    """The photograph's left part, whole, at a half and at a quarter of its size."""
    folder.mkdir(parents=True, exist_ok=True)
    for scale, part in enumerate(_sizes((0, 0, EDGE, 300))):
        part.save(folder / f"{scale}.png")
    return folder


def held_out(count: int, side: int, value_range: tuple[float, float] = (0.0, 1.0)) -> Tensor:
    """Crops `[count, 3, side, side]` of the part that no run saw, at the same sizes."""
    g, (low, high) = torch.Generator().manual_seed(0), value_range
    parts = [torch.from_numpy(np.asarray(p).copy()).permute(2, 0, 1) / 255 for p in _sizes((EDGE, 0, 451, 300))]
    crops = []
    for i in range(count):
        part = parts[i % len(parts)]
        top, left = (int(torch.randint(n - side + 1, (), generator=g)) for n in part.shape[1:])
        crops.append(part[:, top : top + side, left : left + side])
    return torch.stack(crops) * (high - low) + low


def _sizes(box: tuple[int, int, int, int]) -> list[Image.Image]:
    part = Image.open(PHOTO).convert("RGB").crop(box)
    return [part.resize((part.width // k, part.height // k), Image.Resampling.LANCZOS) for k in (1, 2, 4)]


def start(family: str, config: dict[str, Any]) -> Tokenizer:
    """A tokenizer whose narrow layers pass signals on from the start; the usual deviation of 0.02 is made for wide ones.

    Patches are embedded with the photograph's mean taken off, so that they do not drown in their positions.
    """
    torch.manual_seed(0)
    tokenizer = build_tokenizer(family, config)
    low, high = tokenizer.spec.value_range
    for name, gain in tokenizer.named_parameters():
        if name.endswith(("attention_scale", "mlp_scale")):  # LayerScale begins at 1e-5, for depth
            nn.init.ones_(gain)
        if name.endswith(("positions", "tokens", "parts")) and gain.std() < 0.1:  # DINOv2's tables begin at 0.02 and below
            nn.init.normal_(gain, std=0.3)
    for name, module in tokenizer.named_modules():
        if not isinstance(module, (nn.Linear, nn.Conv2d)) or not module.weight.requires_grad or not module.weight.any():
            continue
        nn.init.xavier_uniform_(module.weight)
        if name.endswith("patch_embed") and module.in_channels == 3:
            nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5 / (STD * (high - low)))
            nn.init.zeros_(module.bias)
            module.bias.data -= module.weight.data.sum((1, 2, 3)) * (low + MEAN * (high - low))
    return tokenizer


def trained(tokenizer: Tokenizer, photos: Path, output: Path, losses: dict[str, Any], *, steps: int, **changes: Any) -> Tokenizer:
    """The tokenizer after so many steps through the training loop, in eval mode; `changes` replace sections of the run."""
    run: dict[str, Any] = {
        "model": {"family": tokenizer.family},
        "data": {"kind": "images", "train": str(photos), "crop": 16, "cache": "memory"},
        "losses": losses,
        "optimizer": {"lr": 2e-3, "betas": [0.9, 0.95], "schedule": {"kind": "cosine", "warmup_steps": 30}},
        "ema": {"decay": 0.0},
        "steps": steps,
        "batch_size": 16,
        "every": {"log": 0, "checkpoint": 0, "preview": 0, "validate": 0},
        "threads": 1,
        "device": "cpu",
        "tensorboard": False,
        "output": str(output),
    }
    Trainer(parse_run(run | changes), tokenizer).run()
    return tokenizer.eval()


def error(x_hat: Tensor, x: Tensor) -> float:
    """Mean square distance."""
    return float((x_hat - x).square().mean())
