"""EnCodec in all layouts."""

from typing import Any

import torch
from layout_options import DROP, Sweep
from lively_audio import lively, twin
from peers import Peer
from torch import Tensor, nn
from wrapped_states import other

_SEANET = {"dimension": 10, "n_filters": 4, "ratios": [3, 2], "lstm": 1, "causal": True}


def _package(theirs: dict[str, Any]) -> Peer | None:
    """The classes of the package `encodec`."""
    try:
        from encodec.model import EncodecModel
        from encodec.modules import SEANetDecoder, SEANetEncoder
        from encodec.quantization import ResidualVectorQuantizer
    except ImportError:
        return None
    parts = SEANetEncoder(**theirs["encoder"]), SEANetDecoder(**theirs["decoder"]), ResidualVectorQuantizer(**theirs["quantizer"])
    module = EncodecModel(*parts, **theirs["model"])

    def ids(m: nn.Module, x: Tensor) -> Tensor:
        return torch.cat([codes for codes, _ in m.encode(x)], dim=-1)

    if theirs["encoder"].get("norm") == "none":  # what is written has weight norm
        return Peer(module, ids)
    return twin("encodec", theirs, module, ids)


def _both(**change: Any) -> dict[str, Any]:
    return {"encoder": change, "decoder": change}


def _original(**change: Any) -> dict[str, Any]:
    return {
        "encoder": _SEANET | change,
        "decoder": _SEANET | change,
        "quantizer": {"dimension": 10, "n_q": 3, "bins": 16},
        "model": {"target_bandwidths": [4.0, 12.0], "sample_rate": 6000, "channels": change.get("channels", 1)},
    }


_STEREO = {"channels": 2, "norm": "time_group_norm", "causal": False}
_SEGMENTS = {"normalize": True, "segment": 0.004, "overlap": 0.1}

_ORIGINAL = {
    "as it is": {},
    "not causal": _both(causal=False),
    "default number of LSTM layers": _both(lstm=DROP),
    "no LSTM": _both(lstm=0),
    "identity skips": _both(true_skip=True),
    "three residual units": _both(n_residual_layers=3, dilation_base=3),
    "other kernels": _both(kernel_size=5, last_kernel_size=3, residual_kernel_size=5),
    "zeros at the edges": _both(pad_mode="constant"),
    "the last sample at the edges": _both(pad_mode="replicate"),
    "narrow units": _both(compress=4),
    "trimmed on both sides": {"decoder": {"trim_right_ratio": 0.5}},
    "tanh at the end": {"decoder": {"final_activation": "Tanh"}},
    "no weight norm": _both(norm="none"),
    "leaky ReLU": _both(activation="LeakyReLU", activation_params={"negative_slope": 0.2}),
    "a steeper ELU": _both(activation_params={"alpha": 0.5}),
    "normalised clips": {"model": {"normalize": True}},
    "segments": {"model": _SEGMENTS},
    "default quantizer": {"quantizer": {"n_q": DROP}},
    "settings of training": {"quantizer": {"kmeans_init": False, "decay": 0.9, "threshold_ema_dead_code": 1, "kmeans_iters": 5}},
}

_AUDIOCRAFT = {
    "as it is": {},
    "causal": {"encodec": {"causal": True}},
    "no LSTM by default": {"seanet": {"lstm": DROP}},
    "three residual units by default": {"seanet": {"n_residual_layers": DROP}},
    "projected skips": {"seanet": {"true_skip": False}},
    "identity skips by default": {"seanet": {"true_skip": DROP}},
    "no norm by default": {"seanet": {"norm": DROP}},
    "group norm": {"seanet": {"norm": "time_group_norm"}},
    "group norm of the inner blocks": {"seanet": {"norm": "time_group_norm", "disable_norm_outer_blocks": 1}},
    "mirrored edges": {"seanet": {"pad_mode": "reflect"}},
    "normalised clips": {"encodec": {"renormalize": True}},
    "dropout of codebooks": {"rvq": {"q_dropout": True}},
    "a last activation": {"seanet": {"decoder": {"final_activation": "Tanh"}}},
    "one codebook": {"rvq": {"n_q": 1}},
    "two channels": {"encodec": {"channels": 2}, "seanet": {"channels": 2}},
}


def _export(state: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint of a run: the best weights one deeper than the last ones."""
    return {"best_state": {"model": state}, "model": other(state), "xp.cfg": "sample_rate: 32000", "history": [{"train": {"l1": 0.1}}]}


def _transformers_ids(module: nn.Module, x: Tensor) -> Tensor:
    """Codes of all segments one after the other, at the largest bandwidth."""
    out = module.encode(x, bandwidth=module.config.target_bandwidths[-1])
    codes = list(out.audio_codes)
    codes[-1] = codes[-1][..., : codes[-1].shape[-1] - out.last_frame_pad_length]
    return torch.cat(codes, dim=-1)


def _transformers(theirs: dict[str, Any]) -> Peer | None:
    try:
        from transformers import EncodecConfig, EncodecModel
    except ImportError:
        return None
    return twin("encodec-hf", theirs, EncodecModel(EncodecConfig(**theirs)), _transformers_ids)


SWEEPS = {
    "encodec": Sweep(
        tiny=_original(),
        options=_ORIGINAL,
        refused={
            "a misspelt key": ({"encoder": {"dimensoin": 8}}, "dimension"),
            "another activation": ({"encoder": {"activation": "Mish"}}, "Mish"),
            "sides of different widths": ({"quantizer": {"dimension": 12}}, "dimension"),
        },
        enliven=lively,
        peer=_package,
    ),
    "encodec-48k": Sweep(
        tiny=_original(**_STEREO) | {"model": {"target_bandwidths": [12.0], "sample_rate": 6000, "channels": 2, **_SEGMENTS}},
        options={k: v for k, v in _ORIGINAL.items() if k not in ("trimmed on both sides", "no weight norm")}
        | {"weight norm": _both(norm="weight_norm"), "one clip": {"model": {"segment": None}}},
        enliven=lively,
        peer=_package,
    ),
    "encodec-audiocraft": Sweep(
        tiny={
            "encodec": {
                "autoencoder": "seanet", "quantizer": "rvq", "sample_rate": 6000, "channels": 1, "causal": False, "renormalize": False,
            },
            "seanet": {
                "dimension": 10, "channels": 1, "causal": False, "n_filters": 4, "n_residual_layers": 1, "ratios": [3, 2],
                "activation": "ELU", "activation_params": {"alpha": 1.0}, "norm": "weight_norm", "norm_params": {},
                "kernel_size": 7, "residual_kernel_size": 3, "last_kernel_size": 7, "dilation_base": 2, "pad_mode": "constant",
                "true_skip": True, "compress": 2, "lstm": 2, "disable_norm_outer_blocks": 0,
                "decoder": {"trim_right_ratio": 1.0, "final_activation": None, "final_activation_params": None}, "encoder": {},
            },
            "rvq": {
                "n_q": 4, "q_dropout": False, "bins": 16, "decay": 0.99, "kmeans_init": True, "kmeans_iters": 50,
                "threshold_ema_dead_code": 2, "orthogonal_reg_weight": 0.0, "orthogonal_reg_active_codes_only": False,
            },
        },
        options=_AUDIOCRAFT,
        refused={"settings of the norm": ({"seanet": {"norm_params": {"eps": 1e-3}}}, "norm_params")},
        enliven=lively,
        published=_export,
    ),
    "encodec-hf": Sweep(
        tiny={
            "_name_or_path": "ArthurZ/encodec_24khz", "architectures": ["EncodecModel"], "audio_channels": 1, "chunk_length_s": None,
            "codebook_dim": 10, "codebook_size": 16, "compress": 2, "dilation_growth_rate": 2, "hidden_size": 10, "kernel_size": 7,
            "last_kernel_size": 7, "model_type": "encodec", "norm_type": "weight_norm", "normalize": False, "num_filters": 4,
            "num_lstm_layers": 2, "num_residual_layers": 1, "overlap": None, "pad_mode": "reflect", "residual_kernel_size": 3,
            "sampling_rate": 6000, "target_bandwidths": [4.0, 12.0], "torch_dtype": "float32",
            "transformers_version": "4.31.0.dev0", "trim_right_ratio": 1.0, "upsampling_ratios": [3, 2], "use_causal_conv": True,
        },
        options={
            "as it is": {},
            "identity skips": {"use_conv_shortcut": False},
            "not causal": {"use_causal_conv": False},
            "causal by default": {"use_causal_conv": DROP},
            "two channels, normalised, in segments": {
                "audio_channels": 2, "norm_type": "time_group_norm", "use_causal_conv": False, "normalize": True,
                "chunk_length_s": 0.004, "overlap": 0.1,
            },
            "group norm": {"norm_type": "time_group_norm", "use_causal_conv": False},
            "zeros at the edges": {"pad_mode": "constant"},
            "three residual units": {"num_residual_layers": 3, "dilation_growth_rate": 3},
            "defaults of the layers": {"num_lstm_layers": DROP, "num_residual_layers": DROP, "compress": DROP},
            "other kernels": {"kernel_size": 5, "last_kernel_size": 3, "residual_kernel_size": 5},
            "default kernels": {"kernel_size": DROP, "last_kernel_size": DROP, "residual_kernel_size": DROP},
            "narrow units": {"compress": 4},
            "trimmed on both sides": {"trim_right_ratio": 0.5},
            "a table's width by default": {"codebook_dim": DROP},
            "a rate that is no multiple of the hop": {"sampling_rate": 6001},
            "one bandwidth": {"target_bandwidths": [4.0]},
            "a key that the class does not read": {"chunk_in_sec": None},
        },
        refused={"a table of another width": ({"codebook_dim": 8}, "codebook_dim")},
        enliven=lively,
        peer=_transformers,
    ),
}  # fmt: skip
