"""What the codebooks of the two shipped tokenizers hold: media from 1, 2, 4, ... codebooks, maps of ids, and one id changed.

    python hear_and_see_tokens.py [--photo FILE] [--sound FILE] [-o OUT]

Writes into OUT: from_<k>.png and from_<k>.wav, ids.png (a row for each codebook, one colour for each id), changed.png.
"""

import argparse
from importlib import resources
from pathlib import Path

import tokenzoo
import torch
from PIL import Image
from tokenzoo import Tokens
from tokenzoo.zoo.media_out import write_audio, write_image
from torch import Tensor

MEDIA = resources.files("tokenzoo").joinpath("zoo/demo/media")


def prefixes(codebooks: int) -> list[int]:
    """1, 2, 4, ... and all."""
    return sorted({min(2**i, codebooks) for i in range(codebooks.bit_length() + 1)})


def colours(ids: Tensor) -> Tensor:
    """A colour for each id, uint8 `[3, h, w]` of ids `[h, w]`; equal ids look equal, neighbours in number need not."""
    return torch.stack([ids * prime % 256 for prime in (73, 151, 211)]).byte()


def see(photo: Path, out: Path) -> None:
    """Decode a picture from ever more codebooks; paint its ids; change one id and mark what moves."""
    tok = tokenzoo.load("photo-f16-rvq7")
    tokens = tok.encode(photo)
    original = tok.prepare(photo)[0].x[:, : int(tokens.sizes[0, 0]), : int(tokens.sizes[0, 1])]
    for k in prefixes(tokens.num_codebooks):
        picture = tok.decode(tokens.first(codebooks=k))[0]
        write_image(out / f"from_{k}.png", tok.to_uint8(picture))
        error = (picture - original).square().mean() / 4  # values from -1 to 1: a range of 2
        print(
            f"{k} of {tokens.num_codebooks} codebooks: {tokens.first(codebooks=k).bits()[0]:7,} bits, PSNR {-10 * error.log10():.2f} dB"
        )
    grids = tokens.ids[0].unflatten(-1, tokens.grid)  # [K, h, w]
    rows = torch.cat([colours(g) for g in grids], dim=-2)
    Image.fromarray(rows.permute(1, 2, 0).numpy()).resize((rows.shape[2] * 8, rows.shape[1] * 8), 0).save(out / "ids.png")

    ids = tokens.ids.clone()
    middle = ids.shape[-1] // 2 + tokens.grid[1] // 2
    ids[0, 0, middle] = (ids[0, 0, middle] + 512) % 1024
    before, after = (
        tok.decode(tokens)[0],
        tok.decode(Tokens(ids=ids, vocab_sizes=tokens.vocab_sizes, grid=tokens.grid, sizes=tokens.sizes))[0],
    )
    write_image(out / "changed.png", tok.to_uint8(after))
    moved = (tok.to_uint8(before) != tok.to_uint8(after)).any(0)
    print(f"one id of {ids.numel():,} changed: {moved.float().mean():.1%} of the pixels differ")


def hear(sound: Path, out: Path) -> None:
    """Decode sound from ever more codebooks."""
    tok = tokenzoo.load("speech-16khz-4kbps")
    tokens = tok.encode(sound)
    seconds = int(tokens.sizes[0, 0]) / int(tokens.sample_rate_hz[0])
    for k in prefixes(tokens.num_codebooks):
        fewer = tokens.first(codebooks=k)
        write_audio(out / f"from_{k}.wav", tok.decode(fewer)[0], int(tokens.sample_rate_hz[0]))
        print(f"{k} of {tokens.num_codebooks} codebooks: {fewer.bits()[0] / seconds / 1000:.2f} kbit/s")


def main(words: list[str] | None = None) -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photo", type=Path, default=MEDIA / "chelsea.png")
    parser.add_argument("--sound", type=Path, default=MEDIA / "speech.flac")
    parser.add_argument("-o", "--out", type=Path, default=Path("tokens_out"))
    given = parser.parse_args(words)
    given.out.mkdir(parents=True, exist_ok=True)
    see(given.photo, given.out)
    hear(given.sound, given.out)


if __name__ == "__main__":
    main()
