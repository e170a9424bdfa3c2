"""SBER-MoVQGAN: taming's arguments, a flat file of weights, averages beside them where a training saved them."""

from image.vqgan.options_taming import DD, REFUSED, STACKS
from image_cases import enliven
from layout_options import Sweep
from wrapped_states import State, other


def _published(state: State) -> State:
    """Averages of a training, which the authors' loader drops: names without dots, other numbers."""
    parts = ("encoder", "decoder", "quantize", "quant_conv", "post_quant_conv")
    averages = {k: v for k, v in other(state).items() if k.startswith(parts)}
    return state | {f"ema_{k.split('.')[0]}.{k.split('.', 1)[1].replace('.', '')}": v for k, v in averages.items()}


SWEEPS = {
    "movqgan": Sweep(
        tiny={"ddconfig": DD, "n_embed": 24, "embed_dim": 6},
        options=STACKS
        | {
            "code as wide as the encoder": {"embed_dim": 8},
            "other sizes": {"n_embed": 10, "ddconfig": {"z_channels": 5}},
            "averages in training": {"ema_decay": 0.9999},
        },
        refused=REFUSED,
        enliven=enliven,
        published=_published,
    ),
}
