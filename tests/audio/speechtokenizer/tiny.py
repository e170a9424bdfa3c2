"""`speechtokenizer` in tiny form, for tests over all families."""

from tiny_parts import RVQ

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "speechtokenizer": (
        "speechtokenizer",
        {
            "seanet": {"width": 4, "strides": [2, 5], "latent_dim": 6, "lstm_bidirectional": True, "activation": "snake"},
            "semantic_dim": 5,
            "quantizer": RVQ,
        },
    ),
    "speechtokenizer-fusion": (
        "speechtokenizer",
        {
            "seanet": {"width": 4, "strides": [2, 5], "latent_dim": 6, "lstm_bidirectional": True},
            "semantic_dim": 5,
            "quantizer": RVQ,
            "fusion": {"semantic_dim": 4, "context_dim": 6, "heads": 2},
        },
    ),
}
