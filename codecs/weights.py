"""Strict comparison of a state dict with the network it is loaded into, and the error messages where they do not fit."""

from collections.abc import Mapping

from torch import Tensor, nn


class CheckpointError(ValueError):
    """A checkpoint that does not fit: missing, extra or misshapen weights, or not a tokenizer at all."""


def load_strict(module: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    """Load `state` into `module`; missing, extra and misshapen weights are listed in one CheckpointError about `name`."""
    check_shapes(module, state, name)
    own = module.state_dict()
    module.load_state_dict({k: v.to(own[k].dtype) for k, v in state.items()}, strict=True)


def check_shapes(module: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    """Raise CheckpointError where weights are missing, left over or misshapen; all are named in one message."""
    own = module.state_dict()
    missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    wrong = [
        f"{k} has shape {list(state[k].shape)}, expected {list(own[k].shape)}"
        for k in sorted(own.keys() & state.keys())
        if own[k].shape != state[k].shape
    ]
    problems = [f"missing: {_some(missing)}"] if missing else []
    problems += [f"not expected: {_some(extra)}"] if extra else []
    problems += [_some(wrong)] if wrong else []
    if problems:
        raise CheckpointError(f"{name} does not fit {type(module).__name__}; {'; '.join(problems)}.")


def is_under(name: str, paths: tuple[str, ...]) -> bool:
    """True where the weight `name` is one of `paths` or lies below one."""
    return any(name == p or name.startswith(p + ".") for p in paths)


def _some(names: list[str], limit: int = 5) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
