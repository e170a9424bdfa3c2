"""SimVQ's image tokenizers."""

from typing import Any

from image.vqgan.options_open_magvit2 import DD, REFUSED, STACKS
from image_cases import enliven
from layout_options import DROP, Sweep
from wrapped_states import State, lightning, other


def _params(**values: Any) -> dict[str, Any]:
    return {"quantconfig": {"params": values}}


def _published(state: State) -> State:
    """Averages, which the authors' evaluation does not take, beside the weights."""
    averages = {"model_ema." + k.replace(".", ""): v for k, v in other(state).items()}
    return lightning(state | averages | {"model_ema.decay": next(iter(state.values()))[:0]})


SWEEPS = {
    "simvq": Sweep(
        tiny={
            "ddconfig": DD,
            "quantconfig": {
                "target": "taming.modules.vqvae.quantize.SimVQ",
                "params": {"n_e": 24, "e_dim": 10, "beta": 0.25, "legacy": False},
            },
            "use_ema": True,
        },
        options=STACKS
        | {
            "the older weights of the losses": _params(legacy=True),
            "them by default": _params(legacy=DROP, beta=DROP),
            "other codes": _params(n_e=10),
            "a narrower latent": _params(e_dim=6) | {"ddconfig": {"z_channels": 6}},
            "of a training's YAML": {"learning_rate": 1e-4, "scheduler_type": "None", "lossconfig": {}, "accumulate_steps": 1},
            "its way of shaping ids": _params(sane_index_shape=True, unknown_index="random", remap=None),
        },
        refused=REFUSED
        | {
            "another quantizer": ({"quantconfig": {"target": "taming.modules.vqvae.quantize.VectorQuantizer2"}}, "SimVQ"),
            "another width": (_params(e_dim=8), "e_dim"),
            "a remap table": (_params(remap="used.npy"), "remap"),
        },
        enliven=enliven,
        published=_published,
    )
}
