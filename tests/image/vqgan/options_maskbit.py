"""MaskBit's tokenizers and VQGAN+; MaskGIT's own weights in the same repository's keys."""

from image_cases import enliven
from layout_options import DROP, Sweep
from wrapped_states import State


def older_order(state: State) -> State:
    """The decoder's levels as MaskGIT's weights number them: from fine to coarse."""
    levels = 1 + max(int(k.split(".")[2]) for k in state if k.startswith("decoder.up."))

    def turned(key: str) -> str:
        head, _, rest = key.removeprefix("decoder.up.").partition(".")
        return f"decoder.up.{levels - 1 - int(head)}.{rest}" if key.startswith("decoder.up.") else key

    return {turned(k): v for k, v in state.items()}


_TABLE = {"quantizer_type": "lookup", "codebook_size": 24, "token_size": 8, "entropy_loss_weight": 0.0}

SWEEPS = {
    "maskbit": Sweep(
        tiny={
            "model_class": "vqgan+", "quantizer_type": "lookup-free", "codebook_size": 4096, "token_size": 6, "commitment_cost": 0.25,
            "entropy_loss_weight": 0.02, "entropy_loss_temperature": 0.01, "entropy_gamma": 1.0, "num_channels": 3,
            "hidden_channels": 32, "channel_mult": [1, 2], "num_resolutions": 2, "num_res_blocks": 1, "sample_with_conv": True,
        },
        options={
            "as it is": {},
            "a table": _TABLE,
            "a table of unit vectors": _TABLE | {"use_l2_normalisation": True},
            "means instead of strides": {"sample_with_conv": False},
            "three levels": {"channel_mult": [1, 1, 2], "num_resolutions": 3},
            "a first level wider than the stem": {"channel_mult": [2, 3]},
            "two blocks a level": {"num_res_blocks": 2},
            "more blocks in the decoder": {"num_res_blocks_decoder": 3},
            "fewer blocks in the decoder": {"num_res_blocks": 2, "num_res_blocks_decoder": 1},
            "one bit": {"token_size": 1},
            "18 bits": {"token_size": 18},
            "a wider stem": {"hidden_channels": 64},
            "no class": {"model_class": DROP},
            "MaskGIT's class": _TABLE | {"model_class": "maskgit", "sample_with_conv": False, "num_res_blocks_decoder": 4},
            "no entropy": {"entropy_loss_weight": DROP, "entropy_loss_temperature": DROP, "entropy_gamma": DROP},
        },
        refused={
            "taming's class": ({"model_class": "taming"}, "model_class"),
            "continuous": ({"quantizer_type": "vae"}, "quantizer_type"),
            "too many bits": ({"token_size": 20}, "token_size"),
            "levels that disagree": ({"num_resolutions": 3}, "num_resolutions"),
            "grey pictures": ({"num_channels": 1}, "num_channels"),
        },
        enliven=enliven,
    )
}  # fmt: skip
