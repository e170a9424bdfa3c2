"""A tokenizer of sound as an audio tokenizer of transformers: `PreTrainedAudioTokenizerBase`, with DAC's names of inputs and outputs.

    model = AudioTokenizer.wrap(tokenzoo.load("speech-16khz-4kbps"))
    codes = model.encode(input_values).audio_codes                  # [B, K, L]
    wave = model.decode(codes).audio_values                         # [B, T]
    model.save_pretrained("folder")                                 # config.json and model.safetensors as transformers writes them
    AutoModel.from_pretrained("folder")                             # after this module was imported

Letters: B batch, C channels, T samples, K codebooks, L positions.
"""

import os
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoConfig, AutoModel, PreTrainedConfig
from transformers.modeling_utils import PreTrainedAudioTokenizerBase
from transformers.utils import ModelOutput
from transformers.utils.hub import cached_file

from ...codecs.building import build_around
from ...codecs.config import ConfigError, to_mapping
from ...codecs.devices import pick_dtype
from ...codecs.families import build_tokenizer
from ...codecs.modalities import is_sound
from ...codecs.tokenizer import Tokenizer
from ..hub import load

_HUB_OPTIONS = ("revision", "token", "cache_dir", "local_files_only", "force_download", "proxies")


class AudioTokenizerConfig(PreTrainedConfig):
    """Family and config of a tokenizer, and facts under the names that transformers' processors read.

    Args:
        family, tokenizer_config: as in this library's `config.json`.
        sampling_rate: Hz, of the input and of what `decode` returns.
        hop_length: samples of a position.
        codebook_size: ids of one codebook, where all have as many; 0: they differ.
        num_codebooks: K.
        audio_channels: C.
        kwargs: of transformers.
    """

    model_type = "tokenzoo-audio"

    def __init__(
        self,
        family: str = "",
        tokenizer_config: dict[str, Any] | None = None,
        sampling_rate: int = 0,
        hop_length: int = 1,
        codebook_size: int = 0,
        num_codebooks: int = 1,
        audio_channels: int = 1,
        **kwargs: Any,
    ) -> None:
        self.family, self.tokenizer_config = family, tokenizer_config or {}
        self.sampling_rate, self.hop_length = sampling_rate, hop_length
        self.codebook_size, self.num_codebooks, self.audio_channels = codebook_size, num_codebooks, audio_channels
        super().__init__(**kwargs)

    @property
    def downsampling_ratios(self) -> list[int]:
        """Factors whose product is the number of samples of a position."""
        return [self.hop_length]

    @property
    def frame_rate(self) -> float:
        """Positions a second."""
        return self.sampling_rate / self.hop_length


@dataclass
class AudioTokenizerEncoderOutput(ModelOutput):
    """Ids `[B, K, L]`, and a mask `[B, L]` of the positions that belong to each item."""

    audio_codes: Tensor | None = None
    audio_codes_mask: Tensor | None = None


@dataclass
class AudioTokenizerDecoderOutput(ModelOutput):
    """Waveforms `[B, T]`; `[B, C, T]` of a codec with several channels."""

    audio_values: Tensor | None = None


class AudioTokenizer(PreTrainedAudioTokenizerBase):
    """See the head of the file."""

    config_class = AudioTokenizerConfig
    base_model_prefix = "tokenizer"
    main_input_name = "input_values"

    def __init__(self, config: AudioTokenizerConfig, tokenizer: Tokenizer | None = None) -> None:
        """`tokenizer`: the one that `config` describes; None: one with random weights."""
        super().__init__(config)
        self.tokenizer = build_tokenizer(config.family, config.tokenizer_config) if tokenizer is None else tokenizer
        self.post_init()

    def _init_weights(self, module: Any) -> None:
        """Nothing: the tokenizer has weights of its own start."""

    @classmethod
    def from_pretrained(
        cls, name: str | os.PathLike[str], *_: Any, config: Any = None, dtype: Any = None, subfolder: str = "", **options: Any
    ) -> "AudioTokenizer":
        """Load what `save_pretrained` wrote, from a folder or a repository of the hub, on the CPU.

        Differs: built around its weights as `tokenzoo.load` does, and not on the device "meta", where tables that a network computes
        when it is made would be lost.

        Args:
            name: folder or hub id.
            config: of the model; None: read from there.
            dtype: of the weights, a `torch.dtype` or its name; None: float32.
            subfolder: in which the files lie.
            options: `revision`, `token`, `cache_dir`, `local_files_only`, `force_download`, `proxies` as elsewhere in transformers.
        """
        where: dict[str, Any] = {n: options[n] for n in _HUB_OPTIONS if options.get(n) is not None} | {"subfolder": subfolder}
        config = config or AudioTokenizerConfig.from_pretrained(name, **where)
        state = load_file(cached_file(name, "model.safetensors", **where) or "")
        state = {key.removeprefix("tokenizer."): value for key, value in state.items()}
        numbers = sum(value.numel() for value in state.values())
        tokenizer = build_around(
            config.family, config.tokenizer_config, lambda _: state, os.fspath(name), count=len(state), numbers=numbers
        )
        model = cls(config, tokenizer).eval()
        kind = pick_dtype(dtype)
        return model if kind is None else model.to(kind)  # type: ignore[call-arg, arg-type]

    @classmethod
    def wrap(cls, tokenizer: str | Tokenizer, **options: Any) -> "AudioTokenizer":
        """The model of a tokenizer of sound, loaded or by the name that `tokenzoo.load` takes, with its options.

        Raises:
            ConfigError: it takes no sound, or only encodes.
        """
        tokenizer = tokenizer if isinstance(tokenizer, Tokenizer) else load(tokenizer, **options)
        spec: Any = tokenizer.spec
        if spec.modality != "audio" or not spec.decodes:
            raise ConfigError(f"{tokenizer.source or tokenizer.family} is no tokenizer that encodes and decodes sound.")
        sizes = set(spec.vocab_sizes)
        config = AudioTokenizerConfig(
            family=tokenizer.family, tokenizer_config=to_mapping(tokenizer.config), sampling_rate=spec.sample_rate_hz,
            hop_length=spec.hop_samples, codebook_size=sizes.pop() if len(sizes) == 1 else 0, num_codebooks=spec.num_codebooks,
            audio_channels=spec.channels,
        )  # fmt: skip
        return cls(config, tokenizer).eval()

    def encode(
        self, input_values: Tensor, padding_mask: Tensor | None = None, n_quantizers: int | None = None, return_dict: bool = True
    ) -> Any:
        """Ids of waveforms at `config.sampling_rate`.

        Args:
            input_values: `[B, C, T]`, or `[B, T]` of one channel, padded at the end.
            padding_mask: `[B, T]` or `[B, C, T]`, 1 where an item is; None: everywhere. Padding does not change ids.
            n_quantizers: only the first of the codebooks.
            return_dict: False: a tuple.
        """
        x = input_values[:, None] if input_values.ndim == 2 else input_values
        lengths = [x.shape[-1]] * len(x)
        if padding_mask is not None:
            mask = padding_mask if padding_mask.ndim == 2 else padding_mask.amax(1)
            lengths = [max(1, int(n)) for n in mask.sum(-1)]
        clips = [(wave[:, :n].float().cpu(), self.config.sampling_rate) for wave, n in zip(x, lengths, strict=True)]
        tokens = self.tokenizer.encode(clips, **({} if n_quantizers is None else {"num_codebooks": n_quantizers}))
        kept = torch.arange(tokens.ids.shape[-1], device=tokens.ids.device) < tokens.lengths.to(tokens.ids.device)[:, None]
        out = AudioTokenizerEncoderOutput(audio_codes=tokens.ids, audio_codes_mask=kept.long())
        return out if return_dict else out.to_tuple()

    def decode(self, audio_codes: Tensor, return_dict: bool = True) -> Any:
        """Waveforms at `config.sampling_rate` of ids `[B, K', L]`, all or the first of the codebooks."""
        from ...codecs.media import resample

        assert is_sound(self.tokenizer)
        wave = self.tokenizer.decode(audio_codes, original=False)
        wave = resample(wave, self.tokenizer.spec.decoded_rate_hz, self.config.sampling_rate)
        out = AudioTokenizerDecoderOutput(audio_values=wave[:, 0] if wave.shape[1] == 1 else wave)
        return out if return_dict else out.to_tuple()

    def forward(self, input_values: Tensor, padding_mask: Tensor | None = None) -> Any:
        """What comes out of encoding and decoding."""
        return self.decode(self.encode(input_values, padding_mask).audio_codes)


AutoConfig.register(AudioTokenizerConfig.model_type, AudioTokenizerConfig, exist_ok=True)
AutoModel.register(AudioTokenizerConfig, AudioTokenizer, exist_ok=True)
