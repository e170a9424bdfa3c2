"""Draws pictures scale by scale, as VAR does (Tian et al. 2024, arXiv 2404.02905): a small multi-scale tokenizer and a transformer.

    python next_scale_model.py [--steps 400] [-o OUT]

1. A tokenizer with the quantizer `multiscale_vq` learns crops of the shipped photograph: 1 x 1, 2 x 2, 4 x 4 and 8 x 8 ids each.
2. A transformer learns p(scale s | scales before s): all ids of a scale at once. Its input at a scale is what the scale before says,
   stretched to the new size, and each position attends to its own scale and to the coarser ones.
3. It draws crops, and the tokenizer decodes them: OUT/drawn.png, beside OUT/real.png.
"""

import argparse
import itertools
from importlib import resources
from pathlib import Path

import tokenzoo
import torch
import torch.nn.functional as F
from tokenzoo.codecs.media import as_pictures
from tokenzoo.train import TrainState, parse_run, train_step
from tokenzoo.zoo.media_out import write_image
from torch import Tensor, nn

CAT = resources.files("tokenzoo").joinpath("zoo/demo/media/chelsea.png")
SIDES, CODES, CROP = (1, 2, 4, 8), 128, 64


def crops(picture: Tensor, count: int, seed: int) -> Tensor:
    """Random crops `[count, 3, CROP, CROP]`."""
    g = torch.Generator().manual_seed(seed)
    at = [[int(torch.randint(n - CROP + 1, (), generator=g)) for n in picture.shape[-2:]] for _ in range(count)]
    return torch.stack([picture[:, y : y + CROP, x : x + CROP] for y, x in at])


def make_tokenizer(picture: Tensor, steps: int):
    """A multi-scale tokenizer of crops, trained for `steps` steps."""
    quantizer = {"kind": "multiscale_vq", "codebook_size": CODES, "scales": [[s, s] for s in SIDES]}
    config = {"patch_size": 4, "widths": [32, 64], "encoder_blocks": [1, 1], "decoder_blocks": [1, 1], "latent_dim": 16}
    tok = tokenzoo.build_tokenizer("convnet", config | {"quantizer": quantizer})
    losses = {"pixel": {"weight": 10, "distance": "l2"}, "quantizer": {}}
    optimizer = {"lr": 2e-3, "schedule": {"kind": "constant"}}
    state = TrainState(
        parse_run({"data": {"kind": "images"}, "output": "unused", "losses": losses, "optimizer": optimizer}), tokenizer=tok
    )
    for step in range(steps):
        train_step(state, crops(picture, 8, step))
    return tok.eval()


class NextScale(nn.Module):
    """Logits `[B, L, CODES]` of all scales from ids `[B, L]`, L = 1 + 4 + 16 + 64; those of a scale follow from coarser ones alone."""

    def __init__(self, width: int = 128, layers: int = 3) -> None:
        super().__init__()
        self.begin = nn.Parameter(torch.zeros(1, width))
        self.embed = nn.Embedding(CODES, width)
        self.place = nn.Parameter(torch.randn(sum(s * s for s in SIDES), width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.trunk = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, CODES)
        of_scale = torch.cat([torch.full((s * s,), i) for i, s in enumerate(SIDES)])
        self.register_buffer("blocked", of_scale[:, None] < of_scale[None, :])  # True: may not attend, as it is finer

    def forward(self, ids: Tensor) -> Tensor:
        inputs, at = [self.begin.expand(len(ids), 1, -1)], 0
        for side, finer in itertools.pairwise(SIDES):
            if at + side * side > ids.shape[1]:
                break
            grid = self.embed(ids[:, at : at + side * side]).transpose(1, 2).unflatten(-1, (side, side))
            inputs.append(F.interpolate(grid, (finer, finer), mode="bilinear").flatten(2).transpose(1, 2))
            at += side * side
        x = torch.cat(inputs, dim=1)
        n = x.shape[1]
        return self.head(self.trunk(x + self.place[:n], mask=self.blocked[:n, :n]))

    @torch.no_grad()
    def draw(self, count: int, seed: int = 0) -> Tensor:
        """Ids `[count, L]`, one scale after the other."""
        g, ids = torch.Generator().manual_seed(seed), torch.zeros(count, 0, dtype=torch.long)
        for side in SIDES:
            logits = self(ids)[:, ids.shape[1] :]
            assert logits.shape[1] == side * side
            new = torch.multinomial(logits.softmax(-1).flatten(0, 1), 1, generator=g).view(count, -1)
            ids = torch.cat([ids, new], dim=1)
        return ids


def sheet(pictures: Tensor) -> Tensor:
    """Pictures `[B, 3, H, W]` side by side."""
    return torch.cat(list(pictures), dim=-1)


def main(words: list[str] | None = None) -> tuple[float, float]:
    """See the module's docstring. Returns nats an id before and after the transformer's training."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=400, help="of the tokenizer, and of the transformer")
    parser.add_argument("-o", "--out", type=Path, default=Path("next_scale_out"))
    given = parser.parse_args(words)
    given.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    (picture,) = as_pictures(CAT, (-1.0, 1.0))
    tok = make_tokenizer(picture, given.steps)
    assert tok.encode(crops(picture, 1, 0)).scales == tuple((s, s) for s in SIDES)

    ids = torch.cat([tok.encode(crops(picture, 64, seed)).ids[:, 0] for seed in range(4)])  # [256, 85]
    model = NextScale()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    losses = []
    for _ in range(given.steps):
        batch = ids[torch.randint(len(ids), (32,))]
        loss = F.cross_entropy(model(batch).flatten(0, 1), batch.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(f"{losses[0]:.2f} nats an id before, {losses[-1]:.2f} after {given.steps} steps; ids alike: {torch.tensor(CODES).log():.2f}")

    drawn = tok.decode(tok.tokens(model.eval().draw(8)[:, None], grid=(SIDES[-1], SIDES[-1])))
    write_image(given.out / "drawn.png", tok.to_uint8(sheet(drawn)))
    write_image(given.out / "real.png", tok.to_uint8(sheet(crops(picture, 8, 0))))
    return losses[0], losses[-1]


if __name__ == "__main__":
    main()
