"""SpeechTokenizer and DM-Codec: one JSON for network and trainer, SEANet's numbered layers."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...codecs.audio.speechtokenizer import SpeechTokenizerConfig
from ...codecs.config import from_mapping
from .base import Converter, fold_weight_norm, rename
from .fields import FOLDER_KEYS, Fields
from .seanet import codebook_table, finish_codebooks, seanet_config, seanet_table

#: What the published JSON holds for the trainer.
_TRAINING = (
    "adam_b2", "batch_size", "betas", "commitment_loss_lambda", "distill_loss_lambda", "distill_type", "epochs", "fmax",
    "fmax_for_loss", "fmin", "hop_size", "intial_learning_rate", "learning_rate", "log_steps", "lr_decay",
    "mel_loss_lambdas", "n_fft", "num_ckpt_keep", "num_freq", "num_mels", "num_warmup_steps", "num_workers",
    "project_name", "recon_loss_lambda", "results_folder", "save_model_steps", "seed", "segment_size",
    "semantic_model_layer", "semantic_model_path", "showpiece_num", "stdout_steps", "train_files", "valid_files", "wd",
    "win_size",
)  # fmt: skip


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS, *_TRAINING)
    names = {"strides": "ratios", "lstm_layers": "lstm"}
    keys = (
        "n_filters", "dimension", "strides", "lstm_layers", "bidirectional", "dilation_base", "residual_kernel_size",
        "n_residual_layers", "activation",
    )  # fmt: skip
    seanet = Fields({names.get(k, k): f.take(k) for k in keys}, "config")
    out = {
        "sample_rate_hz": f.take("sample_rate"),
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
    f.done()
    return out


def _weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    seanet = from_mapping(SpeechTokenizerConfig, _config(config)).seanet
    table = [
        *seanet_table(seanet, "encoder", "encoder.model", "encoder"),
        *seanet_table(seanet, "decoder", "decoder.model", "decoder"),
        (r"transform\.(weight|bias)", r"semantic_head.\1"),
        *codebook_table(r"quantizer\.vq\.layers\.(\d+)\._codebook", r"quantizer.levels.\1.codebook"),
    ]
    return finish_codebooks(rename(fold_weight_norm(state), table))


CONVERTERS = tuple(
    Converter(system=system, upstream=upstream, family="speechtokenizer", config=_config, weights=_weights)
    for system, upstream in (
        ("speechtokenizer", "ZhangXInFD/SpeechTokenizer SpeechTokenizer"),
        ("dm-codec", "mubtasimahasan/DM-Codec codec.Model"),
    )
)
