"""SpeechTokenizer and DM-Codec: the same network, JSON files of different ages."""

from typing import Any

from layout_options import DROP, Sweep
from lively_audio import lively, twin
from peers import Peer
from wrapped_states import other

_NETWORK = {
    "n_filters": 4, "strides": [3, 2], "dimension": 12, "semantic_dimension": 10, "bidirectional": True, "dilation_base": 2,
    "residual_kernel_size": 3, "n_residual_layers": 1, "lstm_layers": 1, "activation": "ELU", "codebook_size": 16, "n_q": 3,
    "sample_rate": 8000,
}  # fmt: skip

_OPTIONS = {
    "as it is": {},
    "Snake, as a second published model": {"activation": "Snake", "codebook_dim": 512, "codebook_loss_lambda": 1.0},
    "another activation": {"activation": "SiLU"},
    "no map to the teacher": {"semantic_dimension": 12},
    "an LSTM of one direction": {"bidirectional": False},
    "two LSTM layers": {"lstm_layers": 2},
    "no LSTM": {"lstm_layers": 0, "bidirectional": False},
    "three residual units": {"n_residual_layers": 3, "dilation_base": 3},
    "a longer kernel": {"residual_kernel_size": 5},
    "three levels": {"strides": [2, 2, 3]},
    "one codebook": {"n_q": 1},
    "a larger codebook": {"codebook_size": 64},
    "another rate": {"sample_rate": 16000, "sampling_rate": 16000},
    "a key that the class does not read": {"colour": 1},
}


def _peer(theirs: dict[str, Any]) -> Peer | None:
    try:
        from speechtokenizer import SpeechTokenizer
    except ImportError:
        return None
    return twin("speechtokenizer", theirs, SpeechTokenizer(theirs), lambda m, x: m.encode(x).transpose(0, 1))


def _trainer(state: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint of the trainer."""
    return {"generator": state, "discriminators": {"mpd": other(state)}, "optim_g": {"state": {}}, "best_dev_mel_loss": 0.4}


SWEEPS = {
    "speechtokenizer": Sweep(
        tiny={
            **_NETWORK, "resblock": "1", "num_gpus": 3, "batch_size": 60, "learning_rate": 0.0001, "adam_b1": 0.5, "adam_b2": 0.9,
            "lr_decay": 0.98, "seed": 1234, "lambda_distill": 0.15, "segment_size": 48000, "num_mels": 80, "num_freq": 1025,
            "n_fft": 1024, "hop_size": 240, "win_size": 1024, "sampling_rate": 8000, "fmin": 0, "fmax": 8000, "fmax_for_loss": None,
            "num_workers": 12, "dist_config": {"dist_backend": "nccl", "dist_url": "tcp://localhost:54322", "world_size": 1},
        },
        options=_OPTIONS | {"without the trainer's rate": {"sampling_rate": DROP}},
        refused={
            "another rate for the trainer": ({"sampling_rate": 16000}, "sampling_rate"),
            "an activation nobody has": ({"activation": "Mish"}, "Mish"),
            "no number of codebooks": ({"n_q": DROP}, "n_q"),
        },
        enliven=lively,
        peer=_peer,
    ),
    "dm-codec": Sweep(
        tiny={
            **_NETWORK, "num_mels": 80, "num_freq": 1025, "n_fft": 1024, "hop_size": 240, "win_size": 1024, "fmin": 0, "fmax": 8000,
            "fmax_for_loss": None, "mel_loss_lambdas": [45, 1, 1, 1], "recon_loss_lambda": 500, "commitment_loss_lambda": 10,
            "betas": [0.9, 0.99], "adam_b2": 0.9, "lr_decay": 0.98, "seed": 1234, "segment_size": 48000, "wd": 0, "num_workers": 4,
            "showpiece_num": 6, "project_name": "codec-dooku", "epochs": 10, "num_warmup_steps": 0, "num_ckpt_keep": 3,
            "batch_size": 6, "learning_rate": 1e-4, "intial_learning_rate": 1e-3, "log_steps": 10, "stdout_steps": 10,
            "save_model_steps": 1000, "distill_type": "d_axis", "distill_loss_lambda": 120,
        },
        options=_OPTIONS,
        enliven=lively,
        published=_trainer,
    ),
}  # fmt: skip
