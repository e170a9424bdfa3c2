"""Short training runs on crops of one photograph or on one recording, for tests of what a training mechanism does."""

import shutil
from pathlib import Path

import numpy as np
import tokenzoo
import torch
from PIL import Image
from tokenzoo.codecs.tokenizer import Tokenizer
from tokenzoo.train.files import load_run
from tokenzoo.train.loop import Trainer
from torch import Tensor

PHOTO = Path(tokenzoo.__file__).parent / "zoo/demo/media/chelsea.png"
SPEECH = PHOTO.parent / "speech.flac"
EDGE = 290  # column where the part that is trained on ends


def write_photo(folder: Path) -> Path:
    """The photograph's left part, whole, at a half and at a quarter of its size; a caption beside each, as a .txt file."""
    folder.mkdir(parents=True, exist_ok=True)
    for scale, part in enumerate(_sizes((0, 0, EDGE, 300))):
        part.save(folder / f"{scale}.png")
        (folder / f"{scale}.txt").write_text(("a cat", "a small cat", "a tiny cat")[scale])
    return folder


def write_speech(folder: Path) -> Path:
    """A recording of five seconds of speech, and a text beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(SPEECH, folder)
    (folder / "speech.txt").write_text("what the recording says")
    return folder


def held_out(count: int, side: int, value_range: tuple[float, float] = (0.0, 1.0)) -> Tensor:
    """Crops `[count, 3, side, side]` of the part that no run saw, at the same sizes."""
    return _crops((EDGE, 0, 451, 300), count, side, value_range)


def write_held_out(folder: Path, count: int, side: int) -> Path:
    """The same crops, as files."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, crop in enumerate(held_out(count, side)):
        Image.fromarray((crop * 255).round().byte().permute(1, 2, 0).numpy()).save(folder / f"{i:03d}.png")
    return folder


def photo_crops(count: int, side: int, value_range: tuple[float, float] = (0.0, 1.0)) -> Tensor:
    """Crops `[count, 3, side, side]` of the part that is trained on, at the sizes of `write_photo`."""
    return _crops((0, 0, EDGE, 300), count, side, value_range)


def _crops(box: tuple[int, int, int, int], count: int, side: int, value_range: tuple[float, float]) -> Tensor:
    g, (low, high) = torch.Generator().manual_seed(0), value_range
    parts = [torch.from_numpy(np.asarray(p).copy()).permute(2, 0, 1) / 255 for p in _sizes(box)]
    crops = []
    for i in range(count):
        part = parts[i % len(parts)]
        top, left = (int(torch.randint(n - side + 1, (), generator=g)) for n in part.shape[1:])
        crops.append(part[:, top : top + side, left : left + side])
    return torch.stack(crops) * (high - low) + low


def _sizes(box: tuple[int, int, int, int]) -> list[Image.Image]:
    part = Image.open(PHOTO).convert("RGB").crop(box)
    return [part.resize((part.width // k, part.height // k), Image.Resampling.LANCZOS) for k in (1, 2, 4)]


def trained(name: str, media: Path, output: Path, *changes: str) -> Tokenizer:
    """The tokenizer that the bundled run `name` ends with on `media`, in eval mode; arguments as `finished`."""
    return finished(name, media, output, *changes).state.best().eval()


def finished(name: str, media: Path, output: Path, *changes: str) -> Trainer:
    """The trainer of a bundled run at its end.

    Args:
        name: a bundled run; its start, losses, optimizer and schedule are used as they are shipped.
        media: folder of pictures or sound.
        output: folder of the run.
        changes: what a user could write after `tokenzoo train NAME`, e.g. "steps=600".
    """
    quiet = ["every.log=0", "every.checkpoint=0", "every.preview=0", "every.validate=0", "tensorboard=false"]
    where = [f"data.train={media}", "data.valid=[]", "data.cache=memory", f"output={output}", "device=cpu", "threads=1"]
    trainer = Trainer(load_run(name, [*where, *quiet, *changes]))
    trainer.run()
    return trainer


def error(x_hat: Tensor, x: Tensor) -> float:
    """Mean square distance."""
    return float((x_hat - x).square().mean())
