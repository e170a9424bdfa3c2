"""Mark of blocks whose inner values training may compute a second time in the backward pass, in place of keeping them."""


class Recomputable:
    """A block that a stack has many of; `train/recompute.py` says what for.

    Its `forward` may run twice for one result, so it changes nothing but its result (no running statistics, no counters), and draws
    random numbers from torch's own generators alone.
    """
