"""What hostile values are, and what may come of them: shared by the seeded fuzzers in `tests/hostile/`.

count = Counter()
for rng in seeds(1, 500):
    count[end(read, changed(config, rng))] += 1
shown(capsys, "configs", count)
"""

import copy
import random
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tokenzoo

#: How large a share of the inputs runs: a few with every change, all of them with the slow tests.
SHARES = [pytest.param(1, id="quick"), pytest.param(25, id="many", marks=pytest.mark.slow)]
#: Values that no field expects: of each type, at the ends of each range, and far beyond.
WRONG: tuple[Any, ...] = (
    None, False, True, -1, 0, 1, 2, 3, 255, -(2**63), 2**31, 2**63, 10**30, 10**400, 0.5, -1e-9, 1e30, 1.7e308,
    float("nan"), float("inf"), float("-inf"), "", "1", "nan", "vq", "x" * 3000, "${oc.env:HOME}", "../..", "\ud800", [], [None],
    [[[]]], [1, "2"], [-1, -1], [2**40, 2**40], [0] * 200, {}, {"": 0}, {"kind": "vq"}, {"kind": ["vq"]}, {"kind": "os:system"},
)  # fmt: skip
_OWN_CODE = tuple(str(Path(tokenzoo.__file__).parent / name) for name in ("codecs", "train", "zoo", "cli"))


def seeds(first: object, count: int) -> Iterator[random.Random]:
    """One source of chance for each input, so that any one of them can be run again alone."""
    return (random.Random(f"{first}-{i}") for i in range(count))


def changed(value: Any, rng: random.Random, *, wrong: tuple[Any, ...] = WRONG) -> Any:
    """A copy of nested mappings and lists with one or two of their values replaced, taken out, doubled or wrapped."""
    whole = {"": copy.deepcopy(value)}
    for _ in range(rng.choice((1, 1, 1, 2))):
        holder, key = rng.choice(list(_spots(whole[""])) or [(whole, "")])
        chance = rng.random()
        if chance < 0.7:
            holder[key] = copy.deepcopy(rng.choice(wrong))
        elif chance < 0.8:
            del holder[key]
        elif chance < 0.9:
            holder[key] = [holder[key]]
        elif isinstance(holder, dict):
            holder[f"{key}x"] = holder[key]
        else:
            holder.append(holder[key])
        if "" not in whole:
            return None
    return whole[""]


def _spots(node: Any) -> Iterator[tuple[Any, Any]]:
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in keys:
        yield node, key
        yield from _spots(node[key])


def end(call: Callable[..., Any], *arguments: Any, also: tuple[type[Exception], ...] = (), **named: Any) -> str:
    """ "accepted", or "refused" by an error of this library: a ValueError or OSError that its own code raised, with a short message.

    Args:
        call, arguments, named: what is tried.
        also: further errors that this library raises here on purpose.

    Raises:
        Whatever else the call raises: a check is missing before the line that failed.
    """
    problem: Exception | None = None
    try:
        call(*arguments, **named)
    except (ValueError, OSError, *also) as error:
        problem = error
    if problem is None:
        return "accepted"
    place = traceback.extract_tb(problem.__traceback__)[-1].filename
    assert place.startswith(_OWN_CODE), f"raised in {place}: {problem!r:.300}"
    assert 0 < len(str(problem)) < 3000, f"a message of {len(str(problem))} letters: {problem!r:.300}"
    return "refused"


def results(count: Counter, call: Callable[[], Any], **options: Any) -> list[Any]:
    """Try `call()` as `end` does and count how it ended; what it returned, as a list of one, or none if it was refused."""
    made: list[Any] = []
    count[end(lambda: made.append(call()), **options)] += 1
    return made


def shown(capsys: pytest.CaptureFixture, what: str, count: Counter) -> None:
    """Print the counts and check that the fuzzer reached the code: some inputs are refused."""
    with capsys.disabled():
        print(f"\n{what}: {count.total()} tried, {', '.join(f'{n} {k}' for k, n in sorted(count.items()))}")
    assert count["refused"], "nothing is refused"
