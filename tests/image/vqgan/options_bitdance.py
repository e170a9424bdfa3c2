"""BitDance's autoencoder."""

from image.vqgan.options_open_magvit2 import DD, REFUSED, STACKS
from image_cases import enliven
from layout_options import DROP, Sweep

SWEEPS = {
    "bitdance-ae": Sweep(
        tiny={"ddconfig": DD, "gan_decoder": False},
        options=STACKS
        | {
            "a decoder with noise": {"gan_decoder": True},
            "no noise by default": {"gan_decoder": DROP},
            "few bits": {"ddconfig": {"z_channels": 4}},
            "several ids": {"ddconfig": {"z_channels": 32}},
            "a checkpoint named": {"checkpoint": "ae.pt"},
        },
        refused=REFUSED | {"another class": ({"num_codebooks": 4}, "num_codebooks")},
        enliven=enliven,
    )
}
