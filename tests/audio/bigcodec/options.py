"""BigCodec: its two classes' arguments."""

from typing import Any

import torch
from layout_options import DROP, Sweep
from lively_audio import lively, twin
from peers import Peer
from torch import Tensor, nn


class _Parts(nn.Module):
    """The two classes, named as in the checkpoint."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.CodecEnc, self.generator = encoder, decoder

    def ids(self, x: Tensor) -> Tensor:
        hop = self.CodecEnc.hop_length
        z = self.CodecEnc(nn.functional.pad(x, (0, int(hop - x.shape[-1] % hop))))
        return self.generator(z, vq=True)[1].transpose(0, 1)


def _peer(theirs: dict[str, Any]) -> Peer | None:
    """The authors' classes as the package `bigcodec` ships them."""
    try:
        from bigcodec.modules import CodecDecoder, CodecEncoder
    except ImportError:
        return None
    module = _Parts(CodecEncoder(**theirs["CodecEnc"]), CodecDecoder(**theirs["generator"]))
    return twin("bigcodec", theirs, module, lambda m, x: m.ids(x), computed=(".filter",))


def _published(state: dict[str, Any]) -> dict[str, Any]:
    """Two state dicts side by side, with the fixed filters that the authors keep as buffers."""
    parts: dict[str, Any] = {"CodecEnc": {}, "generator": {}}
    for key, value in state.items():
        part, _, name = key.partition(".")
        parts[part][name] = value
        if name.endswith(".act.alpha"):
            stem = name.removesuffix("act.alpha")
            parts[part] |= {f"{stem}upsample.filter": torch.ones(1, 1, 12), f"{stem}downsample.lowpass.filter": torch.ones(1, 1, 12)}
    return parts


_YAML = {
    "codec_encoder": {
        "out_channels": 12, "ngf": 4, "use_rnn": True, "rnn_bidirectional": False, "rnn_num_layers": 1, "up_ratios": [2, 3],
        "dilations": [1, 3],
    },
    "codec_decoder": {
        "in_channels": 12, "upsample_initial_channel": 16, "ngf": 48, "use_rnn": True, "rnn_bidirectional": False,
        "rnn_num_layers": 1, "up_ratios": [3, 2], "dilations": [1, 3], "vq_num_quantizers": 1, "vq_dim": 12, "vq_commit_weight": 0.25,
        "vq_weight_init": False, "vq_full_commit_loss": False, "codebook_size": 16, "codebook_dim": 4,
    },
    "mpd": {"periods": [2, 3, 5, 7, 11]}, "mstft": {"kernel_sizes": [5, 3]},
}  # fmt: skip

SWEEPS = {
    "bigcodec": Sweep(
        tiny={"CodecEnc": _YAML["codec_encoder"], "generator": _YAML["codec_decoder"]},
        options={
            "as it is": {},
            "no LSTMs": {"CodecEnc": {"use_rnn": False}, "generator": {"use_rnn": False}},
            "an LSTM on one side": {"generator": {"use_rnn": False}},
            "LSTMs of both directions": {"CodecEnc": {"rnn_bidirectional": True}, "generator": {"rnn_bidirectional": True}},
            "default LSTMs": {
                "CodecEnc": {"use_rnn": DROP, "rnn_num_layers": DROP, "rnn_bidirectional": DROP},
                "generator": {"use_rnn": DROP, "rnn_num_layers": DROP, "rnn_bidirectional": DROP},
            },
            "other dilations on each side": {"CodecEnc": {"dilations": [1, 2, 4]}, "generator": {"dilations": [1]}},
            "default dilations": {"CodecEnc": {"dilations": DROP}, "generator": {"dilations": DROP}},
            "codes as wide as the latents": {"generator": {"codebook_dim": 12}},
            "default width of codes": {"generator": {"codebook_dim": DROP}},
            "three codebooks": {"generator": {"vq_num_quantizers": 3}},
            "three codebooks of different sizes": {"generator": {"vq_num_quantizers": 3, "codebook_size": [16, 8, 32]}},
            "a list of sizes says how many": {"generator": {"vq_num_quantizers": 1, "codebook_size": [16, 8]}},
            "other rates down and up": {"CodecEnc": {"up_ratios": [2, 6]}, "generator": {"up_ratios": [4, 3]}},
            "three levels": {"CodecEnc": {"up_ratios": [2, 2, 3]}, "generator": {"up_ratios": [3, 2, 2]}},
            "a weight of the commitment": {"generator": {"vq_commit_weight": 1.0}},
        },
        refused={
            "another width between the sides": ({"generator": {"in_channels": 8}}, "in_channels"),
            "a misspelt key": ({"CodecEnc": {"ngff": 4}}, "ngf"),
        },
        enliven=lively,
        published=_published,
        peer=_peer,
    ),
}
