"""A tokenizer of sound with the interface of DASB's recipes (github.com/speechbrain/benchmarks, `DASB/model/tokenizer_interface.py`).

In a recipe's YAML, in place of one of its tokenizers:

    codec: !new:tokenzoo.zoo.adapters.speechbrain.DasbTokenizer
        name: speech-16khz-4kbps

Letters: B batch, T samples, L positions, K codebooks, V ids of a codebook, D width of its vectors.
"""

from typing import Any

import torch
from torch import Tensor, nn

from ...codecs.config import ConfigError
from ...codecs.modalities import is_sound
from ...codecs.tokenizer import Tokenizer
from ..hub import load


class DasbTokenizer(nn.Module):
    """`sig_to_tokens`, `tokens_to_sig` and `get_pretrained_embeddings` of one tokenizer; its weights are frozen.

    Args:
        name: as `tokenzoo.load` takes it, or a loaded tokenizer of sound.
        options: of `tokenzoo.load`.
    """

    def __init__(self, name: str | Tokenizer, **options: Any) -> None:
        super().__init__()
        tokenizer = (name if isinstance(name, Tokenizer) else load(name, **options)).eval().requires_grad_(False)
        if not is_sound(tokenizer):
            raise ConfigError(f"{name} takes {tokenizer.spec.modality}s; recipes of DASB are of sound.")
        self.tokenizer = tokenizer

    @property
    def sample_rate(self) -> int:
        """Rate in Hz of the signals on both sides."""
        return self.tokenizer.spec.sample_rate_hz

    def train(self, mode: bool = True) -> "DasbTokenizer":
        """The tokenizer stays in eval mode, whatever a recipe sets."""
        return super().train(False)

    @torch.no_grad()
    def sig_to_tokens(self, signal: Tensor, lengths: Tensor | None = None, num_codebooks: int | None = None, **_: Any) -> Tensor:
        """Ids `[B, L, K]` of signals `[B, T]` at `sample_rate`.

        Args:
            signal: padded at the end to one length.
            lengths: share of T that belongs to each signal `[B]`, as SpeechBrain counts them; None: all. Padding does not change ids;
                positions past an item's end are 0.
            num_codebooks: only the first of them; None: all.
        """
        shares = [1.0] * len(signal) if lengths is None else lengths.tolist()
        clips = [(x[: max(1, round(share * x.shape[-1]))].cpu(), self.sample_rate) for x, share in zip(signal, shares, strict=True)]
        tokens = self.tokenizer.encode(clips, **({} if num_codebooks is None else {"num_codebooks": num_codebooks}))
        return tokens.ids.transpose(1, 2).to(signal.device)

    @torch.no_grad()
    def tokens_to_sig(self, tokens: Tensor, **_: Any) -> Tensor:
        """Signals `[B, T]` at `sample_rate` of ids `[B, L, K]`."""
        from ...codecs.media import resample

        wave = self.tokenizer.decode(tokens.transpose(1, 2).contiguous(), original=False)  # [B, C, T]
        rate = self.tokenizer.spec.decoded_rate_hz
        return resample(wave.mean(1), rate, self.sample_rate).to(tokens.device)

    @torch.no_grad()
    def get_pretrained_embeddings(self, vocab_size: int | None = None, num_codebooks: int | None = None, **_: Any) -> Tensor:
        """Vectors of all ids `[K * V, D]`, codebook after codebook; of residual quantizers those whose sum is the latent.

        Args:
            vocab_size: V as the recipe has it, checked; None: the tokenizer's.
            num_codebooks: only the first of them; None: all.

        Raises:
            ConfigError: codebooks of different sizes or widths, another V, or a quantizer without vectors of its own.
        """
        sizes = self.tokenizer.spec.vocab_sizes[:num_codebooks]
        if len(set(sizes)) > 1 or vocab_size not in (None, sizes[0]):
            raise ConfigError(f"the codebooks have {', '.join(map(str, sizes))} ids; the recipe asks for {vocab_size or 'equal ones'}.")
        vectors = [self._vectors(k) for k in range(len(sizes))]
        if len({v.shape for v in vectors}) > 1:
            raise ConfigError(f"the vectors of the codebooks are of the shapes {[list(v.shape) for v in vectors]}; DASB needs one.")
        return torch.cat(vectors)

    def _vectors(self, k: int) -> Tensor:
        """What each id of codebook k adds to the latents `[V, D]`."""
        quantizer, size = self.tokenizer.quantizer, self.tokenizer.spec.vocab_sizes[k]
        if not quantizer.prefix_decodable or any(s > 1 for s in quantizer.strides):
            return quantizer.code_vectors(k)
        ids = torch.zeros(1, k + 1, size, dtype=torch.int64, device=self.tokenizer.device)
        ids[0, k] = torch.arange(size)
        below = quantizer.decode(ids[:, :k]) if k else 0.0
        return (quantizer.decode(ids) - below)[0].t()
