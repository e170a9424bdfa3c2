"""`alit` in tiny form, for tests over all families."""

from tiny_parts import DISTILLED

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "alit": ("alit", DISTILLED | {"tokens_per_rollout": 3, "rollouts": 2, "max_tokens": 6, "halting_threshold": 0.0}),
}
