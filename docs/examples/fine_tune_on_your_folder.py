"""Fine-tunes a shipped tokenizer on a folder of yours, and compares it with itself before, on files that it did not see.

    python fine_tune_on_your_folder.py FOLDER [--model photo-f16-rvq7] [--steps 200] [-o runs/mine]

The same as the command `tokenzoo train --from MODEL data.train=... data.valid=...` (docs/fine-tuning.md), from Python.
"""

import argparse
import json
from pathlib import Path

import tokenzoo
from tokenzoo.codecs.media import AUDIO_ENDINGS, IMAGE_ENDINGS
from tokenzoo.train import Trainer, load_run


def error(tok, files: list[Path]) -> float:
    """Mean square error of reconstructions, in the range of the tokenizer's values."""
    found = []
    for file in files:
        (item,) = tok.prepare(str(file))
        media = tok.decode(tok.encode_prepared([item]), original=False)[0]
        found.append(float((media - item.x)[..., : media.shape[-1]].square().mean()))
    return sum(found) / len(found)


def main(words: list[str] | None = None) -> tuple[float, float]:
    """See the module's docstring. Returns the errors on held-out files before and after."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="photo-f16-rvq7", help="any name, hub id or folder that `tokenzoo.load` takes")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="further settings of the run")
    parser.add_argument("-o", "--out", default="runs/mine")
    given = parser.parse_args(words)
    before = tokenzoo.load(given.model)
    sound = before.spec.modality == "audio"
    files = sorted(p for p in given.folder.rglob("*") if p.suffix.lower() in (AUDIO_ENDINGS if sound else IMAGE_ENDINGS))
    if len(files) < 2:
        raise SystemExit(f"{given.folder} holds {len(files)} files; at least 2 are needed: one to train on, one to compare.")
    every = max(2, min(10, len(files)))
    held_out = files[::every]
    train = [f for f in files if f not in held_out]

    settings = [f"init={given.model}", f"data.train={json.dumps([str(f) for f in train])}", "data.valid=[]", f"output={given.out}"]
    name = "audio/fine-tune" if sound else "image/fine-tune"
    Trainer(load_run(name, [*settings, f"steps={given.steps}", "tensorboard=false", *given.set])).run()
    after = tokenzoo.load(f"file:{given.out}")
    errors = error(before, held_out), error(after, held_out)
    print(f"{len(train)} files trained on, {len(held_out)} held out; their error before {errors[0]:.5f}, after {errors[1]:.5f}")
    return errors


if __name__ == "__main__":
    main()
