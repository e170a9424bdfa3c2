"""The published audio tokenizers as others run them: built at their published sizes with random weights, one call each way.

Needs the extra `peers`. Each side turns `[B, 1, T]` into what it calls codes and back; `ids` brings those to `[B, K, L]`.
Letters: B batch, T samples, K codebooks, L positions.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Peer:
    """One implementation of a codec.

    Attributes:
        package: the distribution it comes from.
        system: name of its layout in `tokenzoo.zoo.convert`.
        build: makes the model, random weights.
        config: what the converter reads, of a model.
        encode, decode: (model, `[B, 1, T]`) to codes, (model, codes) to waveforms.
        ids: codes to `[B, K, L]` at the fastest level's rate.
        tables: names of the codebooks that start out empty.
        spread: they are filled after the latents, which the model's `encoder` gives.
    """

    package: str
    system: str
    build: Callable[[], nn.Module]
    config: Callable[[Any], dict[str, Any]]
    encode: Callable[[Any, Tensor], Any]
    decode: Callable[[Any, Any], Tensor]
    ids: Callable[[Any], Tensor]
    tables: tuple[str, ...] = ()
    spread: bool = False


@dataclass(frozen=True)
class Codec:
    """A codec with everybody who implements it.

    Attributes:
        sample_rate_hz: of the waveform.
        num_codebooks: number requested; None: all.
        noisy: the peers' decoders always draw noise, so ours does too.
    """

    name: str
    sample_rate_hz: int
    peers: tuple[Peer, ...]
    num_codebooks: int | None = None
    noisy: bool = False


# --- transformers -----------------------------------------------------------------------------------------------------


def _hf_encodec() -> nn.Module:
    import transformers

    return transformers.EncodecModel(transformers.EncodecConfig())


def _hf_dac() -> nn.Module:
    import transformers

    sizes = {"downsampling_ratios": [2, 4, 5, 8], "n_codebooks": 12, "sampling_rate": 16000}
    return transformers.DacModel(transformers.DacConfig(**sizes))


def _hf_mimi() -> nn.Module:
    import transformers

    return transformers.MimiModel(transformers.MimiConfig())


def _hf_config(model: Any) -> dict[str, Any]:
    return model.config.to_dict()


def _hf_dac_encode(model: Any, x: Tensor) -> Tensor:
    return model.encode(x).audio_codes


def _hf_dac_decode(model: Any, codes: Tensor) -> Tensor:
    return model.decode(audio_codes=codes).audio_values


# --- the authors ------------------------------------------------------------------------------------------------------


def _encodec() -> nn.Module:
    from encodec import EncodecModel

    model = EncodecModel.encodec_model_24khz(pretrained=False)
    model.set_target_bandwidth(6.0)
    return model


def _encodec_config(model: Any) -> dict[str, Any]:
    return {
        **{side: {"channels": 1, "norm": "weight_norm", "causal": True} for side in ("encoder", "decoder")},
        "quantizer": {"dimension": 128, "n_q": model.quantizer.n_q, "bins": 1024},
        "model": {"target_bandwidths": model.target_bandwidths, "sample_rate": 24000, "channels": 1},
    }


DAC_16KHZ = {
    "encoder_dim": 64,
    "encoder_rates": [2, 4, 5, 8],
    "decoder_dim": 1536,
    "decoder_rates": [8, 5, 4, 2],
    "n_codebooks": 12,
    "codebook_size": 1024,
    "codebook_dim": 8,
    "sample_rate": 16000,
}
SNAC_24KHZ = {
    "sampling_rate": 24000,
    "encoder_dim": 48,
    "encoder_rates": [2, 4, 8, 8],
    "decoder_dim": 1024,
    "decoder_rates": [8, 8, 4, 2],
    "attn_window_size": None,
    "codebook_size": 4096,
    "codebook_dim": 8,
    "vq_strides": [4, 2, 1],
    "noise": True,
    "depthwise": True,
}


def _dac() -> nn.Module:
    import dac

    return dac.DAC(**DAC_16KHZ)


def _dac_encode(model: Any, x: Tensor) -> Tensor:
    return model.encode(model.preprocess(x, model.sample_rate))[1]


def _dac_decode(model: Any, codes: Tensor) -> Tensor:
    return model.decode(model.quantizer.from_codes(codes)[0])


def _snac() -> nn.Module:
    from snac import SNAC

    return SNAC(**SNAC_24KHZ)


def _snac_ids(codes: Sequence[Tensor]) -> Tensor:
    longest = codes[-1].shape[-1]
    return torch.stack([c.repeat_interleave(longest // c.shape[-1], dim=-1) for c in codes], dim=1)


def codecs() -> list[Codec]:
    """The list of all comparisons with peers."""
    encodec_hf = Peer(
        *("transformers", "encodec-hf", _hf_encodec, _hf_config),
        encode=lambda m, x: m.encode(x, bandwidth=6.0),
        decode=lambda m, out: m.decode(out.audio_codes, out.audio_scales).audio_values,
        ids=lambda out: out.audio_codes[0],
        tables=("codebook.embed",),
        spread=True,
    )
    encodec = Peer(
        *("encodec", "encodec", _encodec, _encodec_config),
        encode=lambda m, x: m.encode(x),
        decode=lambda m, frames: m.decode(frames),
        ids=lambda frames: frames[0][0],
        tables=("_codebook.embed",),
        spread=True,
    )
    dac_hf = Peer("transformers", "dac-hf", _hf_dac, _hf_config, _hf_dac_encode, _hf_dac_decode, lambda codes: codes)
    dac = Peer(
        *("descript-audio-codec", "dac", _dac, lambda m: dict(DAC_16KHZ), _dac_encode, _dac_decode),
        ids=lambda codes: codes,
    )
    mimi = Peer(
        *("transformers", "mimi-hf", _hf_mimi, _hf_config),
        encode=lambda m, x: m.encode(x, num_quantizers=8).audio_codes,
        decode=lambda m, codes: m.decode(codes).audio_values,
        ids=lambda codes: codes,
        tables=("codebook.embed_sum",),
    )
    snac = Peer(
        *("snac", "snac", _snac, lambda m: dict(SNAC_24KHZ)),
        encode=lambda m, x: m.encode(x),
        decode=lambda m, codes: m.decode(codes),
        ids=_snac_ids,
    )
    return [
        Codec("encodec-24khz", 24000, (encodec_hf, encodec), num_codebooks=8),
        Codec("mimi", 24000, (mimi,), num_codebooks=8),
        Codec("snac-24khz", 24000, (snac,), noisy=True),
        Codec("dac-16khz", 16000, (dac_hf, dac)),
    ]


# --- both sides -------------------------------------------------------------------------------------------------------


class Theirs:
    """A peer's model with seeded, evened out weights."""

    def __init__(self, codec: Codec, peer: Peer) -> None:
        torch.manual_seed(0)
        self.codec, self.peer = codec, peer
        self.model = peer.build().eval()
        g = torch.Generator().manual_seed(1)
        for name, table in self.model.named_buffers():
            if name.endswith(peer.tables) and peer.tables:  # they start at zero
                table.copy_(0.1 * torch.randn(table.shape, generator=g))
        clip = waveform(codec, 1, 2.0)
        with evened_out(self.model):
            if peer.spread:
                self._spread(clip, peer.tables, g)
            self.decode(self.encode(clip))

    @torch.no_grad()
    def _spread(self, clip: Tensor, tables: tuple[str, ...], g: torch.Generator) -> None:
        """As loud as the latents of random weights, the first one about their mean: else all positions get one code."""
        z = self.model.encoder(clip)[0]  # [D, L]
        for i, table in enumerate(t for name, t in self.model.named_buffers() if name.endswith(tables)):
            spread = z.std(dim=1) * torch.randn(table.shape, generator=g)
            table.copy_(spread if i else spread + z.mean(dim=1))

    @torch.inference_mode()
    def encode(self, x: Tensor) -> Any:
        """Codes of `[B, 1, T]`."""
        return self.peer.encode(self.model, x)

    @torch.inference_mode()
    def decode(self, codes: Any) -> Tensor:
        """Waveforms of codes."""
        return self.peer.decode(self.model, codes)

    def ids(self, codes: Any) -> Tensor:
        """Codes as `[B, K, L]`."""
        return self.peer.ids(codes)


@contextlib.contextmanager
def evened_out(model: nn.Module) -> Iterator[None]:
    """Every convolution that runs inside is scaled and shifted, once, to outputs of deviation 1 and channels of mean 0.

    In trained networks activations go both ways. With PyTorch's random weights biases outweigh what a quiet signal gives: whole
    channels keep one sign, and latents hardly move.
    """

    def even_out(conv: Any, given: tuple[Any, ...], out: Tensor) -> Tensor:
        hooks.pop(conv).remove()
        mean, deviation = out.mean(dim=(0, 2)) if conv.bias is not None else out.new_zeros(out.shape[1]), out.std()
        loud = 0.3 if out.shape[1] == 1 else 1.0  # a waveform
        normed = hasattr(conv, "parametrizations")
        gain = conv.parametrizations.weight.original0 if normed else getattr(conv, "weight_g", conv.weight)
        gain.mul_(loud / deviation)
        if conv.bias is not None:
            conv.bias.sub_(mean).mul_(loud / deviation)
        return (out - mean[:, None]) * (loud / deviation)

    convs = [m for m in model.modules() if isinstance(m, (nn.Conv1d, nn.ConvTranspose1d))]
    hooks = {m: m.register_forward_hook(even_out) for m in convs}
    try:
        yield
    finally:
        for hook in hooks.values():
            hook.remove()


class Ours:
    """Our tokenizer with a peer's weights."""

    def __init__(self, codec: Codec, peer: Peer) -> None:
        from tokenzoo.zoo.convert import convert

        theirs = Theirs(codec, peer).model
        self.codec = codec
        self.tokenizer = convert(peer.system, peer.config(theirs), theirs.state_dict())
        self.seed = {"seed": 0} if codec.noisy else {}

    def encode(self, x: Tensor) -> Any:
        """Tokens of `[B, 1, T]`."""
        return self.tokenizer.encode(x, num_codebooks=self.codec.num_codebooks)

    def decode(self, tokens: Any) -> Tensor:
        """Waveforms of tokens."""
        return self.tokenizer.decode(tokens, **self.seed)

    def ids(self, tokens: Any) -> Tensor:
        """Tokens as `[B, K, L]`."""
        return tokens.ids


def waveform(codec: Codec, batch: int, seconds: float) -> Tensor:
    """A seeded signal `[B, 1, T]`: noise under a slow envelope."""
    samples = int(seconds * codec.sample_rate_hz)
    noise = torch.randn(batch, 1, samples, generator=torch.Generator().manual_seed(2))
    loud = torch.sin(torch.arange(samples) / codec.sample_rate_hz * 9).square()
    return (0.2 * noise * loud).clamp(-1, 1)
