"""Four quantizers over one encoder and decoder, trained alike on crops of pictures: what each does with about the same bits.

    python compare_quantizers.py [--photos FOLDER] [--steps 400]

The network, the data, their order and the start are equal; only the quantizer differs. A real comparison needs more steps and pictures;
`tokenzoo bench` then measures the results with all metrics.
"""

import argparse
from importlib import resources
from pathlib import Path

import tokenzoo
import torch
from tokenzoo.codecs.media import as_pictures
from tokenzoo.train import TrainState, parse_run, train_step
from torch import Tensor

CAT = resources.files("tokenzoo").joinpath("zoo/demo/media/chelsea.png")
#: label -> quantizer; 10 bits a position each, 12 for two small tables.
QUANTIZERS = {
    "VQ, 1024 codes": {"kind": "vq", "codebook_size": 1024},
    "residual VQ, 2 x 64": {"kind": "residual_vq", "num_codebooks": 2, "codebook_size": 64},
    "FSQ, 8 x 5 x 5 x 5": {"kind": "fsq", "levels": [8, 5, 5, 5]},
    "LFQ, 10 bits": {"kind": "lfq", "bits": 10},
}
SIDE = 64


def crops(pictures: list[Tensor], count: int, seed: int) -> Tensor:
    """Random crops `[count, 3, SIDE, SIDE]` in -1..1."""
    g = torch.Generator().manual_seed(seed)
    out = []
    for _ in range(count):
        x = pictures[int(torch.randint(len(pictures), (), generator=g))]
        top, left = (int(torch.randint(n - SIDE + 1, (), generator=g)) for n in x.shape[-2:])
        out.append(x[:, top : top + SIDE, left : left + SIDE])
    return torch.stack(out)


def trained(quantizer: dict, pictures: list[Tensor], steps: int):
    """A tokenizer after `steps` steps of 8 crops."""
    torch.manual_seed(0)
    config = {"patch_size": 4, "widths": [32, 64], "encoder_blocks": [1, 1], "decoder_blocks": [1, 1], "latent_dim": 16}
    tok = tokenzoo.build_tokenizer("convnet", config | {"quantizer": quantizer})
    run = parse_run(
        {
            "data": {"kind": "images"},
            "output": "unused",
            "losses": {"pixel": {"weight": 10, "distance": "l2"}, "quantizer": {}},
            "optimizer": {"lr": 2e-3, "schedule": {"kind": "constant"}},
        }
    )
    state = TrainState(run, tokenizer=tok)
    for step in range(steps):
        train_step(state, crops(pictures, 8, seed=step))
    return tok.eval()


def main(words: list[str] | None = None) -> dict[str, float]:
    """See the module's docstring. Returns the PSNR in dB of each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, default=None, help="pictures of at least 64 x 64; the default is one shipped photograph")
    parser.add_argument("--steps", type=int, default=400)
    given = parser.parse_args(words)
    files = sorted(p for p in given.photos.iterdir() if p.is_file()) if given.photos else [CAT]
    pictures = as_pictures(files, (-1.0, 1.0))
    train, held_out = [x[:, :, : x.shape[-1] * 2 // 3] for x in pictures], [x[:, :, x.shape[-1] * 2 // 3 :] for x in pictures]
    test, found = crops(held_out, 32, seed=10**6), {}
    print(f"{'quantizer':22} bits/position  PSNR dB  ids in use")
    for label, quantizer in QUANTIZERS.items():
        tok = trained(quantizer, train, given.steps)
        tokens = tok.encode(test)
        psnr = -10 * ((tok.decode(tokens) - test).square().mean() / 4).log10()
        used = [f"{len(row.unique())} of {v}" for row, v in zip(tokens.ids.transpose(0, 1).flatten(1), tokens.vocab_sizes, strict=True)]
        found[label] = float(psnr)
        print(f"{label:22} {tok.spec.bits_per_position:13} {psnr:8.2f}  {', '.join(used)}")
    return found


if __name__ == "__main__":
    main()
