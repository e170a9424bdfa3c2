"""WeTok: groups of sign bits, a decoder that may take noise."""

from image.vqgan.options_open_magvit2 import DD, REFUSED, STACKS, published
from image_cases import enliven
from layout_options import DROP, Sweep

SWEEPS = {
    "wetok": Sweep(
        tiny={
            "ddconfig": DD | {"z_channels": 8}, "n_embed": 16, "embed_dim": 8, "num_codebooks": 2, "use_ema": True,
            "gan_decoder": False,
        },
        options=STACKS
        | {
            "a decoder with noise": {"gan_decoder": True},
            "its other quantizer": {"use_GFQ": True},
            "one group": {"num_codebooks": 1, "n_embed": 256},
            "one group by default": {"num_codebooks": DROP, "n_embed": 256},
            "factors of groups": {"use_GFQ": True, "token_factorization": True, "factorized_bits": [3, 5]},
            "factors of one group": {"num_codebooks": 1, "n_embed": 256, "token_factorization": True, "factorized_bits": [3, 5]},
            "other weights of the entropy": {"sample_minimization_weight": 0.5},
        },
        refused=REFUSED
        | {
            "factors without groups": ({"token_factorization": True, "factorized_bits": [3, 5]}, "use_GFQ"),
            "no power of two": ({"n_embed": 100}, "power of two"),
        },
        enliven=enliven,
        published=published,
    )
}  # fmt: skip
