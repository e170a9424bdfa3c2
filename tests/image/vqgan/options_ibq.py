"""IBQ as its authors train it."""

from image.vqgan.options_taming import DD, REFUSED, STACKS
from image_cases import enliven
from layout_options import DROP, Sweep
from wrapped_states import lightning_average

OPTIONS = {k: v for k, v in STACKS.items() if "YAML" not in k} | {
    "without entropy": {"use_entropy_loss": False},
    "default entropy": {"use_entropy_loss": DROP},
    "other weights": {"beta": 0.5, "sample_minimization_weight": 0.5, "batch_maximization_weight": 2.0},
    "another temperature": {"entropy_temperature": 0.1},
    "other sizes": {"n_embed": 10, "embed_dim": 5},
}
TINY = {"ddconfig": DD, "n_embed": 24, "embed_dim": 6, "use_entropy_loss": True, "beta": 0.25}

SWEEPS = {
    "ibq": Sweep(
        tiny=TINY | {"use_ema": True, "l2_normalize": False, "learning_rate": 1e-4, "entropy_temperature": 0.01},
        options=OPTIONS | {"of a training run's YAML": {"resume_lr": None, "lr_drop_epoch": [250, 300], "lossconfig": {}}},
        refused=REFUSED,
        enliven=enliven,
        published=lightning_average,
    )
}
