"""A worker process that encodes units: `python -m tokenzoo.zoo.corpus.worker OUT`, controlled over stdin and stdout.

Both carry one JSON object a line. In: orders, `{"unit": 3, "careful": false, "skip": []}`. Out: `{"ready": true}` once the
tokenizer is loaded, `{"unit": 3, "items": .., ..}` when a unit is on disk, `{"at": 17}` before and `{"at": -1}` after an item
of a careful unit, `{"fault": [28, "No space left on device"]}` where a unit cannot be written. The worker exits when its input ends
or its parent process is gone.
"""

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import torch

from ...codecs.identity import checksum
from ...codecs.tokenizer import Tokenizer
from .ledger import Ledger, attach
from .pipeline import Pipeline, UnitOrder
from .request import SAVED, load_tokenizer


def tokenizer_of(ledger: Ledger, device: str | None = None) -> Tokenizer:
    """Load the tokenizer of a job and check that its weights have not changed since the job was started.

    Raises:
        ValueError: the checksum of its weights is not the one in the ledger.
    """
    facts, saved = ledger.head["tokenizer"], ledger.work / SAVED
    name = f"file:{saved}" if saved.is_dir() else facts["name"]
    tokenizer = load_tokenizer(name, None if saved.is_dir() else facts["revision"], ledger.options, device)
    if checksum(tokenizer) != facts["sha256"]:
        raise ValueError(f"the weights of {facts['name']} changed while the job was running.")
    return tokenizer


def main(arguments: list[str] | None = None) -> int:
    """Entry point of the worker: encode the units ordered on stdin until it ends; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--device")
    parser.add_argument("--readers", type=int, default=2)
    parser.add_argument("--parent", type=int, help="ended with this process; default: the one that is the parent now")
    given = parser.parse_args(arguments)
    # Looked up here, the parent could be the one that a process gets whose own parent was killed meanwhile.
    threading.Thread(target=_end_with, args=(given.parent or os.getppid(),), daemon=True).start()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # other prints go to stderr, so that they cannot corrupt the answers
    ledger = attach(given.out)
    torch.set_num_threads(ledger.options.threads)
    pipeline = Pipeline(ledger, tokenizer_of(ledger, given.device), given.readers, at=lambda i: say(answers, {"at": i}))
    try:
        say(answers, {"ready": True})
        for done in pipeline.run(orders(sys.stdin)):
            say(answers, {"unit": done.unit, "items": done.items, "tokens": done.tokens, "failed": done.failed})
    except BrokenPipeError:  # the parent is gone
        os._exit(1)
    except OSError as error:
        say(answers, {"fault": arguments_of(error)})
        os._exit(1)  # a thread still waits for orders
    return 0


def arguments_of(error: OSError) -> list[Any]:
    """What an OSError is made of, as JSON holds it: `OSError(*arguments_of(error))` equals it."""
    if error.errno is None:
        return [str(error)]
    return [error.errno, error.strerror, *([] if error.filename is None else [str(error.filename)])]


def _end_with(parent: int) -> None:
    """End this process when its parent is gone."""
    while os.getppid() == parent:
        time.sleep(0.1)
    os._exit(1)


def orders(lines: IO[str]) -> Iterator[UnitOrder]:
    """Parse orders, one JSON object a line, as the lines arrive."""
    for line in iter(lines.readline, ""):
        value = json.loads(line)
        yield UnitOrder(value["unit"], value["careful"], tuple((i, why) for i, why in value["skip"]))


def say(stream: IO[str], value: dict[str, Any]) -> None:
    """Write `value` to `stream` as one line of JSON."""
    stream.write(json.dumps(value) + "\n")
    stream.flush()


if __name__ == "__main__":
    sys.exit(main())
