"""What entropy coding saves on held-out media: sizes of token files with plain and with coded ids.

    tokenzoo data build photos && tokenzoo data build speech
    tokenzoo tokenize photo-f16-rvq7 data/photos/test -o tokens/photos
    tokenzoo tokenize speech-16khz-4kbps data/speech/test -o tokens/speech
    python benchmarks/entropy.py photo-f16-rvq7=tokens/photos speech-16khz-4kbps=tokens/speech

Each item is coded alone, with the prior that ships beside the checkpoint and was fitted to the training split of the same data
(`tokenzoo corpus prior`). The media of `tokenzoo demo` are measured as well. Results: `benchmarks/results/entropy.{json,md}`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import measure
import torch
from tokenzoo import Tokens, load
from tokenzoo.codecs.entropy.prior import Prior
from tokenzoo.codecs.token_file import from_bytes, prior_of, to_bytes
from tokenzoo.zoo.corpus import TokenDataset

DEMO = {"photo-f16-rvq7": "chelsea.png", "speech-16khz-4kbps": "speech.flac"}
ABOUT = """Bits of the ids alone, and bytes of whole token files, header included; one file an item. "Saved" is the share of plain bits
that coding with the checkpoint's own prior saves, and of whole files. Every item of the demo and one in fifty of the others was read
back and compared; bits by codebook are of these. Times are of the processor, on one thread, each file by itself."""


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="+", metavar="NAME=FOLDER", help="a checkpoint that has a prior, and a corpus of its tokens")
    parser.add_argument("--limit", type=int, default=0, help="only the first items, this many (0: all)")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    head = measure.header(__file__, threads=1, packages=("tokenzoo", "constriction", "numpy"))
    pairs = [word.partition("=")[::2] for word in given.corpora]
    head["command"] = " ".join(["python benchmarks/entropy.py", *(f"{name}={Path(folder).name}" for name, folder in pairs)])
    media = Path(__file__).parent.parent / "zoo" / "demo" / "media"
    results = []
    for name, folder in pairs:
        prior, data = prior_of(name), TokenDataset(folder, seed=None)
        count = min(given.limit or data.documents, data.documents)
        results.append(measured(name, f"test split, {count} items", prior, (data.tokens(i) for i in range(count)), every=50))
        if name in DEMO:
            results.append(measured(name, f"demo, {DEMO[name]}", prior, [load(name).encode(media / DEMO[name])], every=1))
    columns = ["tokenizer", "media", "plain, bits", "coded, bits", "saved", "files", "coded files", "saved"]
    columns += ["bits by codebook", "prior", "coding / reading"]
    rows = [row(r) for r in results]
    measure.show(columns, rows)
    lines = measure.head_lines("Entropy-coded token files", ABOUT, head) + measure.table_lines(columns, rows)
    measure.write("entropy", head, results, lines)
    return 0


def measured(name: str, what: str, prior: Prior, items: Iterable[Tokens], *, every: int) -> dict[str, Any]:
    """Sizes of all items, and whether those that were read back came back."""
    out: dict[str, Any] = {"tokenizer": name, "media": what}
    out |= {"prior_bytes": len(prior.to_bytes()), "prior_fingerprint": prior.fingerprint}
    sums = dict.fromkeys(("items", "ids", "plain_bits", "coded_bits", "plain_file_bytes", "coded_file_bytes"), 0)
    prefixes = [0] * len(prior.vocab_sizes)
    coding = reading = read = 0.0
    for number, tokens in enumerate(items):
        start = time.process_time()
        coded = to_bytes(tokens, prior)
        coding += time.process_time() - start
        plain = to_bytes(tokens)
        sums["items"] += 1
        sums["ids"] += sum(map(sum, tokens.counts()))
        sums["plain_bits"] += sum(tokens.bits())
        sums["coded_bits"] += 8 * payload(coded)
        sums["plain_file_bytes"] += len(plain)
        sums["coded_file_bytes"] += len(coded)
        if number % every == 0:
            start = time.process_time()
            if from_bytes(coded, prior=prior) != tokens:
                raise AssertionError(f"item {number} of {name} does not come back")
            reading, read = reading + time.process_time() - start, read + sum(map(sum, tokens.counts()))
            for k in range(len(prefixes)):
                prefixes[k] += 8 * payload(to_bytes(tokens.first(codebooks=k + 1), prior))
    books = [b - a for a, b in zip([0, *prefixes], prefixes, strict=False)]
    out |= sums | {
        "saved": 1 - sums["coded_bits"] / sums["plain_bits"],
        "saved_of_files": 1 - sums["coded_file_bytes"] / sums["plain_file_bytes"],
        "bits_by_codebook": [b * len(prior.vocab_sizes) / read for b in books],
        "coding_us_an_id": coding / sums["ids"] * 1e6,
        "reading_us_an_id": reading / read * 1e6,
    }
    return out


def payload(data: bytes) -> int:
    """Bytes behind the header of a token file."""
    return len(data) - 18 - int.from_bytes(data[10:14], "little")


def row(r: dict[str, Any]) -> list[str]:
    """The cells of one result."""
    return [
        r["tokenizer"], r["media"], f"{r['plain_bits']:,}", f"{r['coded_bits']:,}", f"{r['saved']:.1%}", f"{r['plain_file_bytes']:,} B",
        f"{r['coded_file_bytes']:,} B", f"{r['saved_of_files']:.1%}", ", ".join(f"{b:.2f}" for b in r["bits_by_codebook"]),
        f"{r['prior_bytes']:,} B", f"{r['coding_us_an_id']:.0f} / {r['reading_us_an_id']:.0f} µs an id",
    ]  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
