"""`karl` in tiny form, for tests over all families."""

from tiny_parts import DISTILLED

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "karl": (
        "karl",
        DISTILLED | {"position_size": 4, "max_tokens": 12, "default_tokens": 8, "halt_above": 0.5, "train_budgets": (4, 8, 12)},
    ),
}
