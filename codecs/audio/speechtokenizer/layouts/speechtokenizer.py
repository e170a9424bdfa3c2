"""SpeechTokenizer: one JSON for network and trainer, SEANet's numbered layers."""

from collections.abc import Mapping
from typing import Any

from ....layouts.fields import FOLDER_KEYS, Fields
from ....layouts.keymap import KeyMap, Rename, Unwrap, WeightNorm
from ....layouts.layout import Layout
from ....layouts.seanet_keys import codebook_rows, running_codebooks, seanet_config, seanet_rows
from ..model import SpeechTokenizerConfig

#: Keys that only the trainer reads, of the JSON files in the authors' repository and of the older ones on the hub.
_TRAINING = (
    "adam_b1", "adam_b2", "batch_size", "betas", "codebook_loss_lambda", "commitment_loss_lambda", "dist_config",
    "distill_loss_lambda", "distill_type", "epochs", "fmax", "fmax_for_loss", "fmin", "hop_size", "intial_learning_rate",
    "lambda_distill", "learning_rate", "log_steps", "lr_decay", "mel_loss_lambdas", "n_fft", "num_ckpt_keep", "num_freq",
    "num_gpus", "num_mels", "num_warmup_steps", "num_workers", "project_name", "recon_loss_lambda", "resblock",
    "results_folder", "save_model_steps", "seed", "segment_size", "semantic_model_layer", "semantic_model_path",
    "showpiece_num", "stdout_steps", "train_files", "valid_files", "wd", "win_size",
)  # fmt: skip


def config(theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Fields from the JSON; the authors' class reads only the keys that it needs."""
    f = Fields(theirs, "config")
    f.drop(*FOLDER_KEYS, *_TRAINING)
    names = {"strides": "ratios", "lstm_layers": "lstm"}
    keys = (
        "n_filters", "dimension", "strides", "lstm_layers", "bidirectional", "dilation_base", "residual_kernel_size",
        "n_residual_layers", "activation",
    )  # fmt: skip
    seanet = Fields({names.get(k, k): f.take(k) for k in keys}, "config")
    rate = f.take("sample_rate")
    f.require("sampling_rate", rate)  # the trainer's name for the same
    f.drop("codebook_dim")  # in the published Snake model's JSON; no class has ever read it
    out = {
        "sample_rate_hz": rate,
        "seanet": seanet_config(seanet),
        "semantic_dim": f.take("semantic_dimension"),
        "quantizer": {
            "kind": "residual_vq",
            "num_codebooks": f.take("n_q"),
            "codebook_size": f.take("codebook_size"),
            "kmeans_iterations": 50,
            "commitment_weight": 1.0,
        },
    }
    f.done(swallowed=True)
    return out


def keys(own: SpeechTokenizerConfig) -> KeyMap:
    """The state dict of the network, also out of a checkpoint of the trainer."""
    rows = [
        *seanet_rows(own.seanet, "encoder", "encoder.model", "encoder"),
        *seanet_rows(own.seanet, "decoder", "decoder.model", "decoder"),
        ("transform.{weight|bias}", "semantic_head.{weight|bias}"),
        *codebook_rows("quantizer.vq.layers.{}._codebook", "quantizer.levels.{}.codebook"),
    ]
    return KeyMap(Unwrap("generator"), WeightNorm(), Rename(rows), running_codebooks())


LAYOUTS = (
    Layout(
        system="speechtokenizer",
        upstream="ZhangXInFD/SpeechTokenizer speechtokenizer/model.py SpeechTokenizer",
        family="speechtokenizer",
        config=config,
        keys=keys,
    ),
)
