"""Tables of residual quantizers in the layout of RQ-VAE (Lee et al. 2022): a padding row after the codes, shared tables repeated."""

import torch

from ..serialize import CheckpointError
from .keymap import State, Then

#: The authors' names of a table's running statistics -> ours in `codecs/quantizers/parts/codebook.py`.
_STATISTICS = {"cluster_size_ema": "counts", "embed_ema": "sums"}


def padded_tables(theirs: str, ours: str, *, table: str, levels: int, shared: bool, statistics: bool) -> Then:
    """`<theirs><level>.<table>` `[V + 1, d]` with its statistics to the tables of a `residual_vq` under `ours`, and back.

    The last row is padding, without an id. A table that all levels share is stored under every level.

    Args:
        theirs: prefix of the level's number, with its dot: "quantizer_sem.codebooks.".
        ours: prefix of the quantizer, with its dot.
        table: name of the table: "weight", "embed".
        levels: K.
        shared: one table for all levels.
        statistics: read the running statistics too; otherwise training starts with new ones.
    """
    names = {table: "embed", **_STATISTICS}

    def place(level: int) -> str:
        return f"{ours}codebook." if shared else f"{ours}levels.{level}.codebook."

    def read(state: State) -> State:
        out: State = {}
        for key, value in state.items():
            level, _, name = key[len(theirs) :].partition(".")
            if not key.startswith(theirs) or not level.isdigit() or int(level) >= levels or name not in names:
                out[key] = value
                continue
            if shared and level != "0":
                first = state.get(f"{theirs}0.{name}")
                if first is not None and torch.equal(first, value):
                    continue
                raise CheckpointError(f"{key!r} differs from level 0: the config specifies one table; the file has several.")
            if name == table:
                out[place(int(level)) + "embed"] = value[:-1]
            elif statistics:
                out[place(int(level)) + names[name]] = value
                out[place(int(level)) + "ready"], out[place(int(level)) + "steps"] = torch.tensor(True), torch.tensor(0)
        return out

    def write(state: State) -> State:
        out, back = dict(state), {v: k for k, v in names.items()}
        found = {name: [out.pop(place(k) + name, None) for k in range(1 if shared else levels)] for name in back}
        for name, values in found.items():
            for k, value in enumerate(values * (levels if shared else 1)):
                if value is not None:
                    padded = torch.cat([value, value.new_zeros(1, value.shape[1])]) if name == "embed" else value.clone()
                    out[f"{theirs}{k}.{back[name]}"] = padded
        return {k: v for k, v in out.items() if not (k.startswith(ours) and k.endswith((".ready", ".steps")))}

    return Then(read, write)
