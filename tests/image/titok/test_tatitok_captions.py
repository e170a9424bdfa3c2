"""TA-TiTok's decoder also reads a caption (arXiv 2501.07730): what a caption says, the tokens need not hold.

pytest -m effect -s tests/image/titok/test_tatitok_captions.py
"""

import dataclasses
import json
from pathlib import Path

import pytest
import teacher_models
import torch
from effects import effect
from PIL import Image
from small_runs import error, held_out, photo_crops, trained
from torch import Tensor

SIDE = 16
SMALL = [
    "precision=float32", f"data.crop={SIDE}", f"model.config.image_size={SIDE}", "model.config.encoder_patch_size=4",
    "model.config.decoder_patch_size=4", "model.config.encoder={width: 64, layers: 1, heads: 4}",
    "model.config.decoder={width: 64, layers: 1, heads: 4}", "model.config.num_latents=1", "model.config.latent_dim=8",
    "model.config.quantizer.codebook_size=4", "data.flip=false", "data.num_workers=0", "losses.perceptual=null",
    "losses.vision_distance=null", "losses.adversarial=null", "discriminators.patch=null", "optimizer.lr=3e-3",
    "optimizer.schedule.warmup_steps=20", "ema.decay=0.9", "batch_size=16", "steps=200",
]  # fmt: skip


def tinted(pictures: Tensor, seed: int) -> tuple[Tensor, list[str]]:
    """Half the light of the pictures `[B, 3, H, W]` and half of one of eight colours, and the letter a to h of that colour."""
    kinds = torch.randint(8, (len(pictures),), generator=torch.Generator().manual_seed(seed))
    colours = torch.stack([kinds % 2, kinds // 2 % 2, kinds // 4], 1).float()
    return pictures / 2 + colours[..., None, None] / 2, ["abcdefgh"[k] for k in kinds.tolist()]


def write(folder: Path) -> Path:
    """Tinted crops of the photograph's left part, each with its letter in a file beside it."""
    folder.mkdir()
    pictures, letters = tinted(photo_crops(400, SIDE), 1)
    for i, (x, letter) in enumerate(zip((pictures * 255).round().byte(), letters, strict=True)):
        Image.fromarray(x.permute(1, 2, 0).numpy()).save(folder / f"{i:03d}.png")
        (folder / f"{i:03d}.txt").write_text(letter)
    return folder


@pytest.mark.slow
@pytest.mark.effect
def test_a_caption_says_what_one_token_cannot_hold(tmp_path):
    """One token of 4 codes, too few for eight colours; pictures of the other part of the photograph."""
    folder, clip = write(tmp_path / "pictures"), str(teacher_models.clip_text(tmp_path / "clip"))
    read = [f"model.config.text={json.dumps({'length': 4, 'dim': 8, 'model': clip})}"]
    read += [f"teachers.caption.model={clip}", "teachers.caption.length=4"]
    tok = trained("image/tatitok-bl32", folder, tmp_path / "read", *SMALL, *read)
    plain = trained("image/tatitok-bl32", folder, tmp_path / "plain", *SMALL, "model.config.text=null", "model.features=[]",
        "teachers.caption=null", "data.partners.caption=null")  # fmt: skip
    x, letters = tinted(held_out(192, SIDE), 2)
    tokens = tok.encode(x)
    own, other, none = (error(tok.decode(tokens, text=t), x) for t in (tuple(letters), (*letters[1:], letters[0]), None))
    rolled = error(tok.decode(dataclasses.replace(tokens, ids=tokens.ids.roll(1, 0)), text=tuple(letters)), x)
    unread = error(plain.decode(plain.encode(x)), x)
    name, figure = "captions in the decoder (TA-TiTok)", "square error of pixels of one token"
    effect(name, f"{figure}, under the own caption and another picture's", with_=own, without=other)
    effect(name, f"{figure}, under the own caption and none", with_=own, without=none)
    effect(name, f"{figure}, of a run with captions and one without", with_=own, without=unread)
    effect(name, f"{figure}, under the own caption, with the own token and another picture's", with_=own, without=rolled)
    assert own < 0.5 * unread and own < 0.5 * other and own < 0.5 * none, (own, other, none, unread, rolled)
