"""What every tokenizer of clips is asked: reference outputs, pictures as clips of one frame, windows; and clips as files.

Letters: B batch, T frames, h w grid, t steps.
"""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from reference import load_io, reference_folder
from tokenzoo.codecs.token_fields import TokenError
from tokenzoo.zoo.convert import load_reference
from torch import Tensor
from torch.testing import assert_close


def fixtures(system: str) -> tuple:
    """Fixtures of a module: the tokenizer of a reference folder, and the tensors stored there."""

    @pytest.fixture(scope="module")
    def tok():
        return load_reference(reference_folder("image", system))

    @pytest.fixture(scope="module")
    def io():
        return load_io(reference_folder("image", system))

    return tok, io


def check_clip(tok, io: dict[str, Tensor], case: str, **close: float) -> None:
    """Stored clips `[B, 3, T, H, W]`: equal ids, latents, codes and frames as close as `close` says."""
    clip = io[case + "input"].transpose(1, 2)  # [B, T, 3, H, W]
    assert_close(tok.encode_latents(clip), io[case + "latent"].flatten(2), **close)
    tokens = tok.encode(clip)
    assert tokens.grid == tuple(io[case + "ids"].shape[1:])
    assert torch.equal(tokens.ids[:, 0], io[case + "ids"].flatten(1).long())
    assert_close(tok.quantizer.decode(tokens.ids), io[case + "quantized_from_ids"].flatten(2), **close)
    assert_close(tok.decode(tokens), io[case + "decoded"].transpose(1, 2), **close)


def check_picture(tok, x: Tensor, ids: Tensor, decoded: Tensor, **close: float) -> None:
    """Pictures `x [B, 3, H, W]` are clips of one frame; their ids are `[B, h, w]`, and `decoded` is what they give back."""
    tokens = tok.encode(x[0])
    assert tokens.grid == (1, *ids.shape[1:]) and tokens.sizes.tolist() == [[1, *x.shape[2:]]]
    assert torch.equal(tokens.ids[0, 0], ids[0].flatten().long()) and torch.equal(tok.encode(x[:, None]).ids[:1], tokens.ids)
    assert_close(tok.decode(tokens), decoded[:1, None], **close)
    assert_close(tok(x).x_hat, decoded, **close)
    plain = tok.tokens(ids.flatten(1)[:, None], grid=ids.shape[1:], sizes=x.shape[2:])  # as of a tokenizer of pictures
    assert torch.equal(tok.decode(plain), tok.decode(tok.encode(x[:, None])))


def check_windows(tok, clip: Tensor, window: int, grid: tuple[int, int, int], whole: int, **close: float) -> None:
    """The windows of a clip `[T, 3, H, W]` are clips of their own: `grid` of all, and the steps of the clip as a whole."""
    tokens, parts = tok.encode(clip, window=window), [tok.encode(part) for part in clip.split(window)]
    assert tokens.grid == grid and torch.equal(tokens.ids, torch.cat([p.ids for p in parts], dim=-1))
    assert_close(tok.decode(tokens, window=window), torch.cat([tok.decode(p) for p in parts], dim=1), **close)
    if grid[0] != whole:
        with pytest.raises(TokenError, match=f"{len(clip)} frames have {grid[0]} steps; with window=None there would be {whole}"):
            tok.decode(tokens)


def film(frames: np.ndarray, rate: int = 5) -> bytes:
    """Frames uint8 `[T, H, W, 3]` as an MP4 file; sides are even."""
    av = pytest.importorskip("av")
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=rate, width=frames.shape[2], height=frames.shape[1], pix_fmt="yuv420p")
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def write_clip(path: Path) -> Path:
    """Write an animation of four grey frames of 24 x 16 pixels."""
    frames = [Image.fromarray(np.full((16, 24, 3), 40 * i, np.uint8)) for i in range(1, 5)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    return path


def write_picture(path: Path) -> Path:
    """Write the third of those frames."""
    Image.fromarray(np.full((16, 24, 3), 120, np.uint8)).save(path)
    return path
