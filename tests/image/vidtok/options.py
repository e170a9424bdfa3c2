"""VidTok with finite scalar codes, published as Lightning files."""

import torch
from image_cases import enliven
from layout_options import DROP, Sweep
from wrapped_states import lightning, other


def _published(state: dict) -> dict:
    """A Lightning file, with the discriminator and, of other numbers, averages."""
    averages = {"model_ema." + k.replace(".", ""): v for k, v in other(state).items()}
    return lightning(state | averages | {"loss.logvar": torch.ones(()), "model_ema.decay": torch.tensor(0.999)})


_ONE = "vidtok.modules.model_3dcausal_v1_1"
_NOT = "vidtok.modules.model_3dnoncausal"
_PARAMS = {
    "double_z": False, "z_channels": 3, "in_channels": 3, "out_ch": 3, "ch": 4, "ch_mult": [1, 2, 2], "time_downsample_factor": 4,
    "num_res_blocks": 1, "dropout": 0.0, "use_checkpoint": False, "init_pad_mode": "replicate", "norm_type": "layernorm",
    "fix_encoder": False, "fix_decoder": False,
}  # fmt: skip


def _change(params: dict, module: str = "", encoder: str = "EncoderCausal3DPadding", decoder: str = "DecoderCausal3DPadding") -> dict:
    """Both sides with these settings, of the classes of this module."""
    return {
        f"{side}_config": {"params": params} | ({"target": f"{module}.{name}"} if module else {})
        for side, name in (("encoder", encoder), ("decoder", decoder))
    }


def _levels(*levels: int) -> dict:
    return {"regularizer_config": {"params": {"levels": list(levels)}}}


_NONCAUSAL = ("Encoder3D", "Decoder3D")
_THREE = {"ch_mult": [1, 1, 1, 1], "tempo_ds": [0, 1, 2], "tempo_us": [1, 2, 3], "time_downsample_factor": 8}

SWEEPS = {
    "vidtok": Sweep(
        tiny={
            "encoder_config": {"target": "vidtok.modules.model_3dcausal.EncoderCausal3DPadding", "params": _PARAMS},
            "decoder_config": {"target": "vidtok.modules.model_3dcausal.DecoderCausal3DPadding", "params": _PARAMS},
            "regularizer_config": {
                "target": "vidtok.modules.regularizers.FSQRegularizer",
                "params": {"levels": [8, 5, 6], "entropy_loss_weight": 0.1, "commitment_loss_weight": 0.25},
            },
        },
        options={
            "as it is": {},
            "the decoder as the encoder": {"decoder_config": {"params": "${model.params.encoder_config.params}"}},
            "what the yaml of a training holds": {"monitor": "val/rec_loss", "mode": "min", "ignore_keys": [], "loss_config": {"x": 1}},
            "four levels": _change({"ch_mult": [1, 2, 1, 1]}),
            "five levels": _change({"ch_mult": [1, 2, 2, 1, 1]}),
            "8 frames a step": _change(_THREE),
            "2 frames a step": _change({"tempo_ds": [1], "tempo_us": [2], "time_downsample_factor": 2}),
            "2 frames at other levels": _change({"tempo_ds": [0], "tempo_us": [1], "time_downsample_factor": 2}),
            "spatial levels as they are": {
                "encoder_config": {"params": {"spatial_ds": [0, 1]}}, "decoder_config": {"params": {"spatial_us": [2, 1]}}
            },
            "4 frames by default": _change({"time_downsample_factor": DROP, "init_pad_mode": DROP, "dropout": DROP}),
            "four widths by default": _change({"ch_mult": DROP}),
            "two blocks a level": _change({"num_res_blocks": 2}),
            "another width": _change({"ch": 6, "ch_mult": [2, 1, 1]}),
            "other levels of the code": _change({"z_channels": 4}) | _levels(8, 8, 5, 5),
            "version 1.1": _change({}, _ONE),
            "version 1.1, interpolated": _change({"interpolation_mode": "trilinear"}, _ONE),
            "version 1.1, 8 frames a step": _change(_THREE | {"interpolation_mode": "trilinear"}, _ONE),
            "interpolation that version 1.0 does not know": _change({"interpolation_mode": "trilinear"}),
            "not causal": _change({"init_pad_mode": DROP}, _NOT, *_NONCAUSAL),
            "not causal, levels that it does not know": _change(_THREE | {"ch_mult": [1, 1, 1]}, _NOT, *_NONCAUSAL),
        },
        shape=(9, 3, 16, 32),
        refused={
            "continuous latents": (_change({"double_z": True}), "double_z"),
            "group norm": (_change({"norm_type": "groupnorm"}), "norm_type"),
            "group norm by default": (_change({"norm_type": DROP}), "norm_type"),
            "another class": (_change({}, _NOT), "target"),
            "two kinds": ({"encoder_config": {"target": f"{_ONE}.EncoderCausal3DPadding"}}, "same settings"),
            "sides of other widths": ({"encoder_config": {"params": {"ch": 8}}}, "same settings"),
            "space kept at a level": ({"encoder_config": {"params": {"spatial_ds": [1]}}}, "spatial levels"),
            "another number of frames": (_change({"time_downsample_factor": 8}), "halves frames 2 times"),
            "zeros before the clip": (_change({"init_pad_mode": "constant"}), "init_pad_mode"),
            "a code of another width": (_levels(8, 8), "number of levels 2"),
            "projections": ({"regularizer_config": {"params": {"dim": 4}}}, "dim"),
            "a quantizer of another kind": ({"regularizer_config": {"target": "x"}}, "target"),
        },
        enliven=enliven,
        published=_published,
        cards={
            "vidtok-fsq-noncausal-488-262144": _change({}, _NOT, *_NONCAUSAL),
            "vidtok-fsq-noncausal-41616-262144": _change({}, _NOT, *_NONCAUSAL),
            "vidtok-fsq-causal-488-32768-v1.1": _change({"interpolation_mode": "trilinear"}, _ONE),
            "vidtok-fsq-causal-888-32768-v1.1": _change(_THREE | {"interpolation_mode": "trilinear"}, _ONE),
        },
    )
}  # fmt: skip
