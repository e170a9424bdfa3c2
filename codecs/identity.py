"""Which tokenizer made tokens: its name, and a fingerprint of all that its ids depend on.

    identity_of(tokenizer)     # TokenizerId(name="encodec-24khz", family="encodec", modality="audio", fingerprint="5c1e...")

Ids depend on the family, its settings and all weights but the decoder's. Two hashes are taken over these:

- The fingerprint reads some 64 numbers of each tensor, and the settings that differ from their defaults. It is cheap enough to be
  checked in every `encode` (0.4 ms for 140 tensors, 1.4 ms for 490, on one thread of a CPU; `_Samples` keeps views of the numbers),
  and is computed again when the numbers changed: after a training step the tokens are those of another tokenizer. It stays the same
  on another device and in another floating type, in the halves that `load(part=...)` returns, in copies, and when only the decoder
  is trained further or replaced.
- The checksum reads every byte, in the type it has; bulk jobs take it once to notice that weights changed while they run.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from .config import Polymorphic, to_mapping
from .weights import is_under

if TYPE_CHECKING:
    from .tokenizer import Tokenizer

__all__ = [
    "TokenizerId", "checksum", "fingerprint_of", "fingerprint_of_state", "identity_of", "keeping_fingerprint", "set_fingerprint",
]  # fmt: skip

#: Numbers of each tensor that a fingerprint reads: this many to twice as many, all of a smaller tensor.
_NUMBERS = 64
#: Hexadecimal digits of a fingerprint: 128 bits.
_LETTERS = 32
#: Attribute with (fingerprint of the current weights, fingerprint of the original ones) after a cast or `keep_part`.
_STANDS_FOR = "_fingerprint_stands_for"


@dataclass(frozen=True)
class TokenizerId:
    """Identity of a tokenizer; two are equal if their ids are, under whatever name the weights were loaded.

    Attributes:
        name: registry name, hub id, or name of a folder that it was loaded from; of one that was built, its family.
        family: name of its family.
        modality: "audio", "image" or "latent".
        fingerprint: 32 hexadecimal digits.
    """

    name: str = field(compare=False)
    family: str
    modality: str
    fingerprint: str

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if not isinstance(value, str) or not 0 < len(value) <= 200:
                raise ValueError(f"{f.name} of a tokenizer's identity is {value!r:.80}; allowed: text of 1 to 200 characters.")

    def __str__(self) -> str:
        return f"{self.name} ({self.family}, {self.fingerprint[:8]})"


def identity_of(tokenizer: "Tokenizer") -> TokenizerId | None:
    """Current identity of `tokenizer`; None where its weights cannot be read (device "meta", spread over processes)."""
    value = fingerprint_of(tokenizer)
    if value is None:
        return None
    name, family = _name(tokenizer.source), tokenizer.family or type(tokenizer).__name__
    return TokenizerId(name=name[:200] or family, family=family, modality=tokenizer.spec.modality, fingerprint=value)


def _name(source: str) -> str:
    """The name a tokenizer was loaded by; of a folder only its last part, since local paths do not belong in files."""
    path = source.removeprefix("file:").rstrip("/\\")
    is_path = source.startswith("file:") or path.startswith(("/", ".", "~", "\\")) or path[1:2] == ":"
    return path.replace("\\", "/").rpartition("/")[2] if is_path else source


# --- the fingerprint ------------------------------------------------------------------------------------------------


def fingerprint_of(tokenizer: "Tokenizer") -> str | None:
    """32 hexadecimal digits that change with the weights; None where these cannot be read."""
    own = _own_fingerprint(tokenizer)
    stands_for = tokenizer.__dict__.get(_STANDS_FOR)
    return stands_for[1] if stands_for is not None and stands_for[0] == own else own


def fingerprint_of_state(tokenizer: "Tokenizer", state: Mapping[str, Tensor]) -> str:
    """The fingerprint that `tokenizer` has once all of `state` is filled in, whichever half of it is kept."""
    own = tokenizer.state_dict()
    made = {n: state[n].to(own[n].dtype) if own[n].dtype != state[n].dtype else state[n] for n in _makers(tokenizer, state)}
    return _digest(tokenizer, made, _Samples([], made).read())


@contextmanager
def keeping_fingerprint(tokenizer: "Tokenizer") -> Iterator[None]:
    """Keep the tokenizer's fingerprint over a change of its weights inside the block (a cast, a move)."""
    before = fingerprint_of(tokenizer)
    yield
    if before is not None:
        set_fingerprint(tokenizer, before)


def set_fingerprint(tokenizer: "Tokenizer", fingerprint: str) -> None:
    """Give the current weights this fingerprint; weights that change later lose it."""
    own = _own_fingerprint(tokenizer)
    if own not in (None, fingerprint):
        tokenizer.__dict__[_STANDS_FOR] = (own, fingerprint)


class _Samples:
    """Views of the numbers of a tokenizer's weights that a fingerprint reads.

    Args:
        addresses: memory addresses of all weights; once these differ, the views belong to tensors no longer in use.
        weights: tensors that ids depend on, by name.
    """

    def __init__(self, addresses: list[int], weights: Mapping[str, Tensor]) -> None:
        self.addresses = addresses
        #: Views grouped by device and by the type (int64 or float64) that they are converted to; each group is concatenated.
        self.parts: dict[tuple[torch.dtype, torch.device], list[tuple[Tensor, Tensor | None]]] = {}
        for t in weights.values():
            wide = torch.int64 if not (t.is_floating_point() or t.is_complex()) else torch.float64
            self.parts.setdefault((wide, t.device), []).append(_sample(t))
        self.data, self.digest = b"", ""

    def read(self) -> bytes:
        """Current values of the sampled numbers, as bytes: one transfer from each accelerator."""
        numbers = {
            key: torch.cat([view if index is None else view[index] for view, index in views]) for key, views in self.parts.items()
        }
        for device in {device for _, device in self.parts} - {torch.device("cpu")}:
            own = [key for key in numbers if key[1] == device]
            if device.type != "mps" and len(own) > 1:  # which has no float64
                sizes = [len(numbers[key]) for key in own]
                parts = torch.cat([numbers[key].to(key[0]).view(torch.int64) for key in own]).cpu().split(sizes)
                numbers |= {key: part.view(key[0]) for key, part in zip(own, parts, strict=True)}
        return b"".join(part.cpu().to(wide).numpy().tobytes() for (wide, _), part in numbers.items())


def _sample(t: Tensor) -> tuple[Tensor, Tensor | None]:
    """(view `[n]`, indices into it) of the numbers of a tensor that are read; indices None: the whole view."""
    t = torch.view_as_real(t) if t.is_complex() else t.detach()
    step = max(1, t.numel() // _NUMBERS)
    step -= step > 2 and step % 2 == 0  # odd, so that not all lie in one column
    if t.is_contiguous():
        return t.view(-1)[::step], None
    # not contiguous: the same elements, by their offsets in memory
    places = torch.arange(0, t.numel(), step, device=t.device)
    offsets, sizes = torch.zeros_like(places), list(t.shape)
    for size, stride in zip(reversed(sizes), reversed(t.stride()), strict=True):
        offsets += places % size * stride
        places = places // size
    reach = 1 + sum((size - 1) * stride for size, stride in zip(sizes, t.stride(), strict=True))
    return t.as_strided((reach,), (1,)), offsets


_KNOWN: "WeakKeyDictionary[Tokenizer, _Samples]" = WeakKeyDictionary()


def _own_fingerprint(tokenizer: "Tokenizer") -> str | None:
    """Fingerprint of the current weights, before `set_fingerprint` is considered."""
    addresses = _addresses(tokenizer)
    samples = _KNOWN.get(tokenizer)
    if samples is None or samples.addresses != addresses:
        weights = _made_by(tokenizer)
        if not all(map(_readable, weights.values())):
            return None
        samples = _KNOWN[tokenizer] = _Samples(addresses, weights)
    data = samples.read()
    if not samples.digest or data != samples.data:
        samples.data, samples.digest = data, _digest(tokenizer, _made_by(tokenizer), data)
    return samples.digest


def _addresses(tokenizer: "Tokenizer") -> list[int]:
    """Memory addresses of all weights and persistent buffers."""
    out: list[int] = []
    for module in tokenizer.modules():
        out += [t.data_ptr() for t in module._parameters.values() if t is not None]
        skipped = module._non_persistent_buffers_set
        out += [t.data_ptr() for n, t in module._buffers.items() if t is not None and n not in skipped]
    return out


def _readable(t: Tensor) -> bool:
    """Whether the values of `t` can be read: it has data, and is neither sharded over processes nor quantized or sparse."""
    return not t.is_meta and not hasattr(t, "full_tensor") and not t.is_quantized and t.layout == torch.strided


def _digest(tokenizer: "Tokenizer", weights: Mapping[str, Tensor], data: bytes) -> str:
    shapes = {n: list(t.shape) for n, t in weights.items()}
    settings = _changed(tokenizer.config)
    if isinstance(settings, dict):  # ids do not depend on settings of the decoder
        others = (*tokenizer.decoder_only, *tokenizer.beside)
        settings = {n: v for n, v in settings.items() if n not in others and not n.startswith("decoder")}
    head = {"family": tokenizer.family, "config": settings, "weights": shapes}
    out = hashlib.sha256(json.dumps(head, sort_keys=True, default=str).encode())
    out.update(data)
    return out.hexdigest()[:_LETTERS]


def _changed(config: Any) -> Any:
    """Settings that differ from their defaults; so a setting that a later version adds does not change old fingerprints."""
    if isinstance(config, Mapping):
        return {str(k): _changed(v) for k, v in config.items()}
    if isinstance(config, (list, tuple)):
        return [_changed(v) for v in config]
    if not dataclasses.is_dataclass(config):
        return config
    out: dict[str, Any] = {"kind": config.kinds.name_of(type(config))} if isinstance(config, Polymorphic) else {}
    for f in dataclasses.fields(config):
        default = f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default
        value = getattr(config, f.name)
        if value != default:
            out[f.name] = _changed(value)
    return out


# --- what ids depend on ---------------------------------------------------------------------------------------------


def _makers(tokenizer: "Tokenizer", names: Mapping[str, Any]) -> list[str]:
    """Names of the weights that ids depend on, sorted: all but the decoder's, which bulk jobs do not load."""
    return sorted(n for n in names if not is_under(n, (*tokenizer.decoder_only, *tokenizer.beside)))


def _made_by(tokenizer: "Tokenizer") -> dict[str, Tensor]:
    state = tokenizer.state_dict()
    return {n: state[n] for n in _makers(tokenizer, state)}


def checksum(tokenizer: "Tokenizer") -> str:
    """sha256 over a tokenizer's family, config and all weights that ids depend on, by name and in the type they have."""
    head = {"family": tokenizer.family, "config": to_mapping(tokenizer.config)}
    out = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    for name, value in _made_by(tokenizer).items():
        out.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        out.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return out.hexdigest()
