"""Published centres over a speech model of transformers: other models, several layers, and the settings of the authors' readers."""

from typing import Any

import torch
from layout_options import DROP, Sweep
from tokenzoo.codecs.quantizers.kmeans import KMeans

#: A frame every 20 samples.
_MODEL = {
    "model_type": "hubert", "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8,
    "conv_dim": [4, 4], "conv_kernel": [6, 4], "conv_stride": [5, 4], "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2, "vocab_size": 8,
}  # fmt: skip
_FBANKS = {
    "model_type": "wav2vec2-bert", "conv_depthwise_kernel_size": 3, "output_hidden_size": 8,
    "conv_dim": DROP, "conv_kernel": DROP, "conv_stride": DROP, "num_conv_pos_embeddings": DROP, "num_conv_pos_embedding_groups": DROP,
}  # fmt: skip


def _spread(tokenizer: Any) -> None:
    """Centres among the hidden states of noise."""
    noise = 0.3 * torch.randn(1, 1, 40 * tokenizer.spec.hop_samples, generator=torch.Generator().manual_seed(1))
    parts = [part for part in tokenizer.quantizer.modules() if isinstance(part, KMeans)]
    for part, states in zip(parts, tokenizer.encode_latents(noise)[0].chunk(len(parts)), strict=True):
        part.use(states.t()[: part.config.codebook_size])


def _with_all_of_an_estimator(state: dict[str, Any]) -> dict[str, Any]:
    """What scikit-learn stores beside the centres."""
    more = {"labels_": torch.zeros(9, dtype=torch.int32), "_counts": torch.ones(7), "random_state.state.key": torch.zeros(624)}
    out: dict[str, Any] = {}
    for key, value in state.items():
        out[key] = value.double() if key.endswith("cluster_centers_") else value
        if key.endswith("cluster_centers_"):
            out |= {key.removesuffix("cluster_centers_") + name: extra for name, extra in more.items()}
    return out


_LARGE = {"model_type": "wavlm", "do_stable_layer_norm": True, "feat_extract_norm": "layer"}
_SIX = {"layers": [1, 3, 7, 12, 18, 23], "model": {"num_hidden_layers": 24}}

_VOCODER = {
    "resblock": "1", "num_embeddings": 7, "embedding_dim": 4, "model_in_dim": 4, "upsample_rates": [5, 4],
    "upsample_kernel_sizes": [11, 8], "upsample_initial_channel": 8,
    "resblock_kernel_sizes": [3, 5], "resblock_dilation_sizes": [[1, 3, 5], [1, 2, 3]],
    "sampling_rate": 16000, "code_hop_size": 20, "dur_prediction_weight": 1.0,
    "dur_predictor_params": {"encoder_embed_dim": 4, "var_pred_hidden_dim": 6, "var_pred_kernel_size": 3, "var_pred_dropout": 0.5},
}  # fmt: skip

SWEEPS = {
    "kmeans-units": Sweep(
        tiny={"model": _MODEL, "layers": [1], "n_clusters": 7},
        parts={"g_00500000": ("generator.",)},
        options={
            "as it is": {},
            "a vocoder": {"vocoder": _VOCODER},
            "a vocoder without durations": {"vocoder": _VOCODER | {"dur_predictor_params": None, "f0": False}},
            "the input of the layers": {"layers": [0]},
            "the last layer": {"layers": [2]},
            "two layers": {"layers": [2, 0]},
            "two centres": {"n_clusters": 2},
            "large models": {"model": _LARGE, "normalize": True},
            "wav2vec 2.0": {"model": {"model_type": "wav2vec2"}, "normalize": False},
            "w2v-BERT 2.0": {"model": _FBANKS},
            "half the rate": {"model": {"conv_dim": [4, 4, 4], "conv_kernel": [6, 4, 2], "conv_stride": [5, 4, 2]}},
            "silence on both sides": {"padding": 5},
            "short pieces": {"max_chunk": 50},
            "long pieces and no silence": {"max_chunk": 8_000_000, "padding": 0},
        },
        refused={
            "no layers": ({"layers": DROP}, "layers"),
            "a layer too many": ({"layers": [3]}, "from 0 to 2"),
            "one layer twice": ({"layers": [1, 1]}, "different numbers"),
            "another model": ({"model": {"model_type": "bert"}}, "model_type"),
            "pieces of nothing": ({"max_chunk": 20}, "one frame"),
            "an unknown key": ({"n_cluster": 7}, "n_cluster"),
            "a vocoder of other units": ({"vocoder": _VOCODER | {"num_embeddings": 8}}, "num_embeddings"),
            "a vocoder of several voices": ({"vocoder": _VOCODER | {"multispkr": True}}, "multispkr"),
        },
        enliven=_spread,
        published=_with_all_of_an_estimator,
        cards={"wavlm-large-6x1000": _SIX, "hubert-base-l6-km100-lj": {"vocoder": _VOCODER}},
    )
}
