"""Features of frozen speech models, for codecs that take them as input; computed by transformers, loaded only when needed.

Letters: B batch, T samples, N feature frames, C feature channels.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..precision import float32_by_default

#: Kernels and strides of the convolutional feature encoder of wav2vec 2.0, HuBERT and WavLM: a frame every 320 samples.
CONV_KERNELS, CONV_STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)

#: Hop and window of filter-bank frames in samples at 16 kHz, and the number of mel bands.
FBANK_HOP, FBANK_WINDOW, FBANK_BINS = 160, 400, 80

#: Weights that transformers may report as missing: the mask's vector is for training only, and of the convolution's weight norm some
#: versions look for both spellings.
_NOT_MISSED = ("masked_spec_embed", "pos_conv_embed.conv")


def kaldi_fbanks(x: Tensor, **options: Any) -> Tensor:
    """Log energies `[N, 80]` of mel bands by Kaldi's conventions, without dither, of a clip `[T]` at 16 kHz, in float32.

    Args:
        x: T is `FBANK_WINDOW` or more.
        **options: further ones of `torchaudio.compliance.kaldi.fbank`.
    """
    from torchaudio.compliance import kaldi

    with float32_by_default(), torch.autocast(x.device.type, enabled=False):
        return kaldi.fbank(
            x[None].float() * 2**15,
            num_mel_bins=FBANK_BINS,
            frame_length=FBANK_WINDOW / 16,
            frame_shift=FBANK_HOP / 16,
            sample_frequency=16000,
            dither=0.0,
            **options,
        )


def stacked_fbanks(x: Tensor) -> Tensor:
    """Pairs of concatenated filter-bank frames, the input of w2v-BERT 2.0: `[T]` at 16 kHz to `[N, 160]`, N = ceil(frames / 2).

    Log energies of 80 mel bands (Kaldi's conventions), normalised over time for each band.
    """
    frames = kaldi_fbanks(x, window_type="povey", low_freq=20, high_freq=8000)
    frames = (frames - frames.mean(0)) / torch.sqrt(frames.var(0, unbiased=True) + 1e-7)
    frames = F.pad(frames, (0, 0, 0, len(frames) % 2))
    return frames.view(-1, 2 * FBANK_BINS)


def conv_frames(samples: int, config: Mapping[str, Any]) -> int:
    """Number of frames, 0 or more, of a HuBERT or WavLM with this configuration of transformers for `samples` input samples."""
    kernels, strides = config.get("conv_kernel", CONV_KERNELS), config.get("conv_stride", CONV_STRIDES)
    for kernel, stride in zip(kernels, strides, strict=True):
        samples = max(0, (samples - kernel) // stride + 1)
    return samples


class FrozenModel(nn.Module):
    """A model of transformers that is never trained: no gradients, always in eval mode.

    Args:
        config: fields of its transformers configuration, with `model_type`; weights are random until loaded.
        part: keep only this submodule of it (Whisper: "encoder"); "": the whole model.
    """

    def __init__(self, config: Mapping[str, Any], part: str = "") -> None:
        super().__init__()
        transformers = _transformers()
        values = dict(config)
        own = transformers.AutoConfig.for_model(values.pop("model_type"), **values)
        whole = transformers.AutoModel.from_config(own)
        self.model = getattr(whole, part) if part else whole
        self.freeze()

    @classmethod
    def pretrained(cls, name: str, part: str = "", **options: Any) -> "FrozenModel":
        """Load the published model `name` from the hub or a folder; `options` change its configuration (e.g. fewer layers).

        Raises:
            ValueError: weights of the model that its config describes are missing; transformers would leave them at random.
        """
        out = cls.__new__(cls)
        nn.Module.__init__(out)
        transformers = _transformers()
        logging = transformers.utils.logging
        before = logging.get_verbosity()
        logging.set_verbosity_error()  # else each weight of a layer that is left out is reported
        try:
            whole, info = transformers.AutoModel.from_pretrained(name, output_loading_info=True, **options)
        finally:
            logging.set_verbosity(before)
        if missing := sorted(k for k in info["missing_keys"] if not any(known in k for known in _NOT_MISSED)):
            raise ValueError(f"{name} holds no weights for {missing[0]!r} and {len(missing) - 1} others of its model.")
        out.model = getattr(whole, part) if part else whole
        return out.freeze()

    def freeze(self) -> "FrozenModel":
        """Switch off gradients, and set eval mode; returns the model itself."""
        return self.eval().requires_grad_(False)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle configuration and weights: models of transformers contain local functions, which cannot be pickled."""
        return _remade, (type(self), type(self.model), self.model.config, self.model.state_dict())

    def train(self, mode: bool = True) -> "FrozenModel":
        """Stay in eval mode: features must not depend on the mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, inputs: Tensor) -> Tensor:
        """Last hidden states `[B, C, N]` of inputs `[B, N, C']`, or of another shape that the model takes."""
        return self.model(inputs).last_hidden_state.transpose(1, 2)

    @torch.no_grad()
    def mean_of_layers(self, inputs: Tensor) -> Tensor:
        """Mean of the input of the first layer and the outputs of all layers, `[B, C, N]`."""
        return self.layer(inputs, None)

    @torch.no_grad()
    def layer(self, inputs: Tensor, index: int | None) -> Tensor:
        """Hidden states `[B, C, N]` by `index`: 0 input of the first layer, 1 its output, -1 output of the last; None: their mean."""
        states = self.model(inputs, output_hidden_states=True).hidden_states
        return (torch.stack(states).mean(0) if index is None else states[index]).transpose(1, 2)

    @torch.no_grad()
    def layers(self, inputs: Tensor, indices: Sequence[int]) -> Tensor:
        """Hidden states `[B, len(indices) C, N]` of several layers, one behind the other; `indices` as in `layer`."""
        states = self.model(inputs, output_hidden_states=True).hidden_states
        return torch.cat([states[i] for i in indices], dim=-1).transpose(1, 2)


def _remade(kind: type[FrozenModel], model_class: type[nn.Module], config: Any, state: dict[str, Tensor]) -> FrozenModel:
    out = kind.__new__(kind)
    nn.Module.__init__(out)
    one = next(v for v in state.values() if v.is_floating_point())
    out.model = model_class(config).to(one.device, one.dtype)
    out.model.load_state_dict(state, assign=True)
    return out.freeze()


class NamedModel:
    """A published model that is loaded from the hub when it is first used.

    It is not an `nn.Module`, so that its weights are not in the state dict of the codec that uses it.

    Args:
        name: name of the model on the hub.
        options: as in `FrozenModel.pretrained`.
    """

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        self.name, self.options = name, options
        self._model: FrozenModel | None = None

    def get(self, device: torch.device, dtype: torch.dtype) -> FrozenModel:
        """The model, on `device` and in `dtype`; loaded at the first call."""
        if self._model is None:
            self._model = FrozenModel.pretrained(self.name, **self.options)
        return self._model.to(device, dtype)


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise ImportError(
            "this codec's speech features are computed by the package transformers: pip install 'tokenzoo[transformers]', "
            "or pass `features=` to encode."
        ) from error
    return transformers
