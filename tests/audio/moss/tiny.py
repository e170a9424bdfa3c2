"""`moss` in tiny form, for tests over all families."""

from tiny_parts import FACTORISED, RVQ, SMALL_TRANSFORMER

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "moss": (
        "moss",
        {
            "encoder": [
                {"patch": 4, "transformer": SMALL_TRANSFORMER, "out_channels": 6},
                {"patch": 2, "transformer": SMALL_TRANSFORMER | {"width": 12}, "out_channels": 6},
            ],
            "decoder": [
                {"patch": 2, "transformer": SMALL_TRANSFORMER, "out_channels": 6},
                {"patch": 4, "transformer": SMALL_TRANSFORMER, "out_channels": 4},
            ],
            "latent_dim": 6,
            "quantizer": FACTORISED | {"stack_dim": 5},
        },
    ),
    "moss-stereo": (
        "moss",
        {
            "channels": 2,
            "encoder": [{"patch": 20}, {"transformer": SMALL_TRANSFORMER}],
            "decoder": [{"transformer": SMALL_TRANSFORMER, "out_channels": 20}, {"patch": 20}],
            "latent_dim": 8,
            "quantizer": RVQ,
        },
    ),
}
