"""Codecs with random weights whose ids differ, and peers that hold the same weights."""

from collections.abc import Callable
from typing import Any

import torch
from audio_cases import shake
from peers import Peer
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.codecs.tokenizer import Tokenizer
from tokenzoo.zoo.convert import converter
from torch import Tensor, nn


@torch.no_grad()
def lively(tok: Tokenizer) -> Tokenizer:
    """Bring the latents of noise to mean 0 and deviation 1 in every channel, by the encoder's last layer.

    A small network as its class starts it gives nearly the same latent whatever it hears.
    """
    tok.eval()
    x = 0.3 * torch.randn(2, tok.spec.channels, 40 * tok.spec.hop_samples, generator=torch.Generator().manual_seed(7))
    z = tok.encode_latents(x)
    mean, std = z.mean(dim=(0, 2)), z.std(dim=(0, 2))
    head = tok.encoder.head
    last = getattr(head, "norm", None) or head
    last.weight.div_(std.view(-1, *[1] * (last.weight.ndim - 1)))
    last.bias.copy_((last.bias - mean) / std)
    return tok


def twin(
    system: str,
    theirs: dict[str, Any],
    module: nn.Module,
    ids: Callable[[nn.Module, Tensor], Tensor],
    *,
    computed: tuple[str, ...] = (),
) -> Peer:
    """`module` with the weights that our layout writes for a lively tokenizer: every name of its state dict but `computed`."""
    layout = converter(system)
    own = layout.own_config(theirs)
    tok = lively(shake(build_tokenizer(layout.family, own)))
    missing, unexpected = module.load_state_dict(layout.write(tok.state_dict(), own), strict=False)
    assert not unexpected and all(k.endswith(computed) for k in missing), (missing, unexpected)
    return Peer(module, ids)
