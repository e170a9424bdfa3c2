"""Forms of `families.py` on a device that exists in name only; see `far_device.py`.

    python tests/far_device_run.py mimi vqgan
    python tests/far_device_run.py --quantizer residual_vq num_codebooks=4
    python tests/far_device_run.py --tokens

Prints a line of JSON for each form; of a training step of a quantizer; or of what tokens know about their items on the CPU.
"""

import copy
import dataclasses
import json
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))

from contract_cases import batch, build
from far_device import far, waits
from tokenzoo.codecs.tokens import Tokens

COUNT = 3


def measured(label: str) -> dict[str, Any]:
    """Whether ids and media are those of the CPU, and what makes the host wait, for `COUNT` items and for twice as many."""
    here = build(label)
    x = batch(here, COUNT)
    tokens = here.encode(x)
    decoded = here.decode(tokens) if here.spec.decodes else None
    out: dict[str, Any] = {"form": label}
    with far() as device:
        there = copy.deepcopy(here).to(device)
        one, two = x.to(device), torch.cat([x, x]).to(device)
        there.encode(one)  # the first call may look at what stays as it is
        with waits() as found:
            own = there.encode(one)
        with waits() as twice:
            there.encode(two)
        out |= {"encode": found.of(), "encode_twice": twice.of(), "device": own.ids.device.type}
        out["ids"] = torch.equal(own.ids.cpu(), tokens.ids)
        if decoded is not None:
            own_two = there.encode(two)
            there.decode(own)
            with waits() as found:
                y = there.decode(own)
            with waits() as twice:
                there.decode(own_two)
            out |= {"decode": found.of(), "decode_twice": twice.of()}
            out["decoded"] = max(float((a.cpu() - b).abs().max()) for a, b in zip(y, decoded, strict=True))
        if getattr(there.spec, "streamable", False):
            out |= {"push": streamed(there, one), "push_twice": streamed(there, two)}
    return out


def streamed(tokenizer: Any, x: torch.Tensor) -> list[str]:
    """What makes the host wait when a stream of some rows encodes and decodes its last frames."""
    live, step = tokenizer.stream(), tokenizer.spec.hop_samples * getattr(tokenizer, "group_frames", 1)
    frames = [x[..., i : i + step] for i in range(0, x.shape[-1] - step + 1, step)]
    for frame in frames[:-1]:
        tokens = live.push(frame)
        if tokens is not None:
            live.decode(tokens)
    with waits() as found:
        tokens = live.push(frames[-1])
        if tokens is not None:
            live.decode(tokens)
    return found.of()


def trained(kind: str, settings: dict[str, Any]) -> dict[str, Any]:
    """What makes the host wait in a training step of a quantizer, some of whose codes are dead."""
    from tokenzoo.codecs.quantizers import build as build_quantizer
    from tokenzoo.codecs.quantizers.parts.codebook import one_step

    torch.manual_seed(0)
    quantizer = build_quantizer(kind, **({"dim": 8, "codebook_size": 16, "replace_below": 0.5} | settings)).train()
    z = torch.randn(2, 8, 30)
    with far() as device:
        quantizer.to(device)
        for step in range(3):
            with waits() as found, one_step():
                quantizer((z * (1 + step)).to(device, non_blocking=True))
    return {"quantizer": kind, "waits": found.of(), "usage": quantizer.usage().tolist()}


def kept() -> dict[str, Any]:
    """Of tokens made, cut and joined: fields that differ from their copies on the CPU, and waits of reading these."""
    facts = {"lengths": torch.tensor([2, 6, 4]), "sizes": torch.tensor([[20], [60], [33]]), "sample_rate_hz": torch.tensor([8, 16, 8])}
    ids = torch.arange(36).view(3, 2, 6) % 5
    out: dict[str, Any] = {}
    with far() as device:
        made = Tokens(ids=ids.to(device), vocab_sizes=(5, 5), **facts)
        own = Tokens(ids=ids.to(device), vocab_sizes=(5, 5), **{n: v.to(device) for n, v in facts.items()})
        all_ways = {
            "made": made,
            "of the device": own,
            "slice": made[1:],
            "item": made[2],
            "joined": Tokens.cat([made[0], own[1], made]),
            "first": made.first(positions=3),
            "moved": Tokens(ids=ids, vocab_sizes=(5, 5), **facts).to(device),
            "copied": copy.copy(made),
            "replaced": dataclasses.replace(made, lengths=torch.tensor([1, 1, 6])),
        }
        for way, tokens in all_ways.items():
            with waits() as found:
                here = {n: tokens.on_host(n) for n in facts}
                again = tokens.facts_on_host()
            wrong = [n for n, v in here.items() if v is None or v.device.type != "cpu" or not torch.equal(v, getattr(tokens, n).cpu())]
            wrong += [n for n in facts if getattr(again, n).device.type != "cpu" or getattr(tokens, n).device != device]
            out[way] = {"wrong": wrong, "waits": len(found.events), "lengths": here["lengths"].tolist()}
        with waits() as found:
            back = made.to("cpu")
        out["back"] = {"wrong": [] if back == made else ["tokens"], "waits": len(found.events), "lengths": back.lengths.tolist()}
    return out


def main() -> None:
    """Each form named, whatever happens to the others."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if sys.argv[1] == "--tokens":
        print(json.dumps(kept()))
        return
    if sys.argv[1] == "--quantizer":
        settings = {k: int(v) for k, v in (a.split("=") for a in sys.argv[3:])}
        print(json.dumps(trained(sys.argv[2], settings)))
        return
    for label in sys.argv[1:]:
        try:
            row = measured(label)
        except Exception as error:
            frames = [f for f in traceback.extract_tb(error.__traceback__) if "site-packages" not in f.filename]
            at = [f"{f.filename}:{f.lineno}" for f in frames[-4:]]
            row = {"form": label, "error": f"{type(error).__name__}: {str(error)[:300]}", "at": at}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
