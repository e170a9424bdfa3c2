"""What the layouts of `s3` allow, for the tests over all layouts; the peer is the package s3tokenizer, where it is installed."""

from typing import Any

import torch
from layout_options import DROP, Sweep
from s3_graphs import graph_of

_V2 = {"name": "speech_tokenizer_v2_25hz", "n_mels": 80, "n_audio_state": 128, "n_audio_head": 2, "n_audio_layer": 1}
_V1 = {"name": "speech_tokenizer_v1", "n_audio_ctx": 1500, "n_codebook_size": 24}
_COPY = {
    "name": DROP, "model_type": "s3tokenizer", "sampling_rate": 16000, "n_fft": 400, "vocab_size": 6561, "hidden_size": 128,
    "num_attention_heads": 2, "num_key_value_heads": 2, "attention_bias": False, "rope_theta": 10000.0, "rope_scaling": None,
}  # fmt: skip
_V3 = {"name": "speech_tokenizer_v3_25hz", "n_audio_layer": 7}


def _spread(tok: Any) -> None:
    """Code vectors of the length of the latents, and frames of one clip that differ."""
    with torch.no_grad():
        tok.encoder.stem.conv_in.weight.mul_(8)
        if tok.down is None:
            embed = tok.quantizer.codebook.embed
            torch.manual_seed(0)
            centre = tok.encode_latents(torch.randn(1, 1, 16000))[0].mean(1)
            embed.copy_(centre + 0.1 * torch.randn(embed.shape))


class _Port(torch.nn.Module):
    """The port's class with the `ids(x)` that `Sweep.peer` asks for."""

    def __init__(self, package: Any, theirs: dict[str, Any]) -> None:
        super().__init__()
        from s3tokenizer import model, model_v2, model_v3

        versions = {"v1": (model, "S3Tokenizer"), "v2": (model_v2, "S3TokenizerV2"), "v3": (model_v3, "S3TokenizerV3")}
        module, name = versions[theirs["name"].split("_")[2]]
        values = {k: v for k, v in theirs.items() if k not in ("name", "hard_coded_overrides")}
        settings = getattr(module, "ModelConfigV3" if name.endswith("V3") else "ModelConfig")
        self.module = getattr(module, name)(theirs["name"], settings(**values)).eval()
        if rotary := theirs.get("hard_coded_overrides"):
            self.module.encoder.freqs_cis = model_v2.precompute_freqs_cis(rotary["rotary_head_width"], 2048)
        self.mel, self.padding = package.log_mel_spectrogram, package.padding
        with torch.no_grad():  # as `_spread`, by their names
            self.module.encoder.conv1.weight.mul_(8)
            if hasattr(self.module.quantizer._codebook, "project_down"):
                self.module.quantizer._codebook.project_down.weight.mul_(4)
            else:
                table = self.module.quantizer._codebook.embed
                table.copy_(torch.randn(table.shape, generator=torch.Generator().manual_seed(0)) * table.shape[1] ** -0.5)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return self.module.state_dict()

    def ids(self, x: torch.Tensor) -> torch.Tensor:
        mels, lengths = self.padding([self.mel(clip[0], self.module.config.n_mels) for clip in x])
        return self.module.quantize(mels, lengths)[0].long()[:, None]


def _peer(theirs: dict[str, Any]) -> Any:
    try:
        import s3tokenizer
    except ImportError:
        return None
    return _Port(s3tokenizer, theirs) if "name" in theirs else None


def _in_chatterbox(state: dict[str, Any]) -> dict[str, Any]:
    """With the constants of the mel, which Chatterbox's class keeps."""
    return state | {"_mel_filters": torch.zeros(80, 201), "window": torch.hann_window(400)}


_OPTIONS = {
    "v2": {},
    "v2 with heads of another width": {"n_audio_state": 32, "hard_coded_overrides": {"rotary_head_width": 16}},
    "v2's own number of codes": {"n_codebook_size": 4096},
    "v2 of other depth": {"n_audio_layer": 2},
    "another kernel": {"use_sdpa": True},
    "v3": _V3,
    "v3 with its number of codes": _V3 | {"n_codebook_size": 6561},
    "v1": _V1,
    "v1 at 25 Hz": _V1 | {"name": "speech_tokenizer_v1_25hz"},
    "v1 with heads of any width": _V1 | {"n_audio_state": 12, "n_audio_head": 4},
    "v1 with a short table": _V1 | {"n_audio_ctx": 60},
    "v1 with defaults": {"name": "speech_tokenizer_v1", "n_audio_state": 8, "n_audio_head": 1},
    "in transformers' words": _COPY,
    "128 mel bands": {"n_mels": 128},
}
_REFUSED = {
    "no name": ({"name": DROP}, "name"),
    "an unknown version": ({"name": "speech_tokenizer_v4"}, "speech_tokenizer_v1"),
    "heads that the rotary table does not fit": ({"n_audio_head": 4}, "heads of 64"),
    "v3 with other codes": (_V3 | {"n_codebook_size": 4096}, "6561"),
    "a copy with another transform": (_COPY | {"n_fft": 512}, "n_fft"),
    "an unknown key": ({"n_text_state": 3}, "n_text_state"),
}

SWEEPS = {
    "s3tokenizer": Sweep(
        tiny=_V2,
        options=_OPTIONS,
        refused=_REFUSED,
        enliven=_spread,
        published=_in_chatterbox,
        shape=(1, 16000),
        peer=_peer,
        cards={"s3-v2-resemble": _COPY},
    ),
    "s3tokenizer-onnx": Sweep(
        tiny=_V2,
        options=_OPTIONS,
        refused=_REFUSED,
        enliven=_spread,
        write=graph_of,
        shape=(1, 16000),
        cards={"s3-v1-50hz": _V1, "s3-v1-25hz": _V1 | {"name": "speech_tokenizer_v1_25hz"}, "s3-v3": _V3},
    ),
}
