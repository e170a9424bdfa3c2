"""MaskGCT's acoustic codec: the authors' JSON."""

from typing import Any

from layout_options import DROP, Sweep

_PARTS: dict[str, Any] = {
    "encoder": {"d_model": 4, "up_ratios": [3, 4], "out_channels": 10, "use_tanh": False},
    "decoder": {
        "in_channels": 10, "upsample_initial_channel": 16, "up_ratios": [4, 3], "num_quantizers": 3, "codebook_size": 16,
        "codebook_dim": 4, "quantizer_type": "fvq", "quantizer_dropout": 0.5, "commitment": 0.25, "codebook_loss_weight": 1.0,
        "use_l2_normlize": True, "codebook_type": "euclidean", "kmeans_init": False, "kmeans_iters": 10, "decay": 0.8, "eps": 0.5,
        "threshold_ema_dead_code": 2, "weight_init": False, "use_vocos": True, "vocos_dim": 8, "vocos_intermediate_dim": 12,
        "vocos_num_layers": 2, "n_fft": 48, "hop_size": 12, "padding": "same",
    },
}  # fmt: skip


def _in(**changes: Any) -> dict[str, Any]:
    return {"model": {"acoustic_codec": changes}}


SWEEPS = {
    "maskgct-acoustic": Sweep(
        tiny={"model": {"acoustic_codec": _PARTS, "t2s_model": {"hidden_size": 1536}}},
        parts={"model_1": ("codec_decoder.",)},
        options={
            "as it is": {},
            "its arguments alone": {"model": DROP, **_PARTS},
            "the published key that is not read": _in(
                encoder={"out_channels": 256}, decoder={"in_channel": 256, "in_channels": DROP}
            ),
            "one quantizer": _in(decoder={"num_quantizers": 1}),
            "a larger table": _in(decoder={"codebook_size": 64, "codebook_dim": 6}),
            "three levels": _in(encoder={"up_ratios": [2, 3, 4]}, decoder={"hop_size": 24, "n_fft": 96}),
            "a wide encoder": _in(encoder={"d_model": 6}),
            "a wide decoder": _in(decoder={"vocos_dim": 12, "vocos_intermediate_dim": 20}),
            "a deep decoder": _in(decoder={"vocos_num_layers": 4}),
            "a long window": _in(decoder={"n_fft": 72}),
            "a short window": _in(decoder={"n_fft": 24}),
            "no dropout": _in(decoder={"quantizer_dropout": 0.0}),
            "defaults of training": _in(decoder={"commitment": DROP, "codebook_loss_weight": DROP, "quantizer_dropout": DROP}),
        },
        refused={
            "tanh": (_in(encoder={"use_tanh": True}), "use_tanh"),
            "another quantizer": (_in(decoder={"quantizer_type": "lfq"}), "quantizer_type"),
            "DAC's decoder": (_in(decoder={"use_vocos": False}), "use_vocos"),
            "another hop": (_in(decoder={"hop_size": 10}), "hop_size"),
            "another width": (_in(decoder={"in_channels": 12}), "in_channels"),
        },
    ),
}  # fmt: skip
