"""Ids from elsewhere in place of the encoder's: a decoder learns to read what a generator writes (`model.ids`).

RobusTok ("Image Tokenizer Needs Post-Training", arXiv 2509.12474): a generator's ids differ from an encoder's, and a decoder that has
seen only the latter draws them badly. The decoder is trained on further, from a generator's ids to the real media, with encoder and
quantizer frozen. `tokenzoo corpus generate` writes such ids; `data.partners` puts them beside the media.

The ids take the place of the quantizer's own result, so this is the same for every family whose `forward` calls its quantizer once.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from ..codecs.config import ConfigError
from ..codecs.quantizers.base import Quantized, Quantizer, zero_loss
from ..codecs.tokenizer import Tokenizer
from .losses.base import partner_named


@contextmanager
def reading(tokenizer: Tokenizer, name: str, partners: Mapping[str, Tensor | list[str]]) -> Iterator[None]:
    """Context manager of a forward pass, in which the decoder reads the ids of a partner.

    The quantizer's loss is 0 there, and no gradient reaches the encoder.

    Args:
        tokenizer: whose `forward` runs, wrapped or not.
        name: of the partner, int64 `[B, K, L]`; "": the decoder reads the encoder's ids, as always.
        partners: of the batch.

    Raises:
        ConfigError: ids of another shape than the encoder's or outside the vocabulary, or a family that calls its quantizer not once.
    """
    if not name:
        yield
        return
    _check_once(tokenizer, name)  # a setting may have moved
    ids, calls = partner_named(partners, name), list[int]()
    assert isinstance(ids, Tensor)  # `RunConfig` checked the partner's kind

    def replace(quantizer: nn.Module, args: tuple[Any, ...], named: dict[str, Any], out: Quantized) -> Quantized:
        assert isinstance(quantizer, Quantizer)
        calls.append(1)
        if len(calls) > 1:  # other latents, of which these ids say nothing
            return out
        if ids.shape != out.ids.shape:
            raise ConfigError(
                f"model.ids: the partner {name!r} has ids [B, K, L] of {list(ids.shape)}, the encoder gives {list(out.ids.shape)}. "
                "Write ids of this tokenizer, of whole items, and take crops as large as these."
            )
        try:
            z_q = quantizer.decode(ids, grid=named.get("grid"))
        except ValueError as error:
            raise ConfigError(f"model.ids: the partner {name!r}: {error}") from error
        return dataclasses.replace(out, z_q=z_q.to(out.z_q.dtype), ids=ids, loss=zero_loss(out.loss), metrics={})

    hook = tokenizer.quantizer.register_forward_hook(replace, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()
    if len(calls) != 1:
        raise ConfigError(
            f"model.ids is {name!r}, but a {tokenizer.family} tokenizer calls its quantizer {len(calls)} times; its decoder reads no "
            "ids from elsewhere."
        )


def check_reads(tokenizer: Tokenizer, name: str) -> None:
    """Check that a tokenizer's decoder can read ids from elsewhere.

    Raises:
        ConfigError: tables that move, so that the ids would change their meaning, or a setting by which the quantizer is called again.
    """
    if name and not tokenizer.quantizer.frozen:
        raise ConfigError(f"model.ids is {name!r}: those ids belong to the tables as they are. Add quantizer to model.frozen.")
    if name:
        _check_once(tokenizer, name)


def _check_once(tokenizer: Tokenizer, name: str) -> None:
    if setting := tokenizer.requantizes:
        raise ConfigError(
            f"model.ids is {name!r}, but {setting} of a {tokenizer.family} tokenizer lets the encoder answer to its own ids; those of "
            f"{name!r} stand in their place. Set model.config.{setting} to 0."
        )
