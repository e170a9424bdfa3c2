"""`Vocabulary`: text, special tokens and the codebooks of several tokenizers in one id space.

    vocabulary = Vocabulary(
        text_size=32000,
        media=(Books.of("speech", tokenizer.spec), Books(name="photo", modality="image", vocab_sizes=(16384,))),
    )
    print(vocabulary.table())
    ids = vocabulary.to_ids("speech", tokens.ids)   # [B, K, L], each codebook in a range of its own

The id space, from 0 up; every range begins where the one before it ends, so no two codebooks share an id:

    text | reserved after "text" | specials | reserved after "specials" | media[0]: book 0, book 1, .. | reserved
    after media[0] | media[1]: .. | filling up to a multiple of `multiple_of`

Reserved ranges are declared, never implied: rows that a text model has but does not use, or rows kept for later.
Letters: B batch, K codebooks, L token positions, V codebook size.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from ...codecs.config import ConfigError, SignedInt, nearest
from ...codecs.spec import TokenizerSpec

#: Special tokens of every vocabulary, in the order of their ids.
#: begin, end: of a document. pad: fills batches. separator: between documents or turns. empty: no id at this step (the
#: corners of a delay pattern). end_row: end of a row of a picture. One pair for each modality: the brackets of a medium.
SPECIALS = (
    "begin",
    "end",
    "pad",
    "separator",
    "empty",
    "end_row",
    "begin_image",
    "end_image",
    "begin_audio",
    "end_audio",
)


#: Letters of the longest name.
_LONGEST = 200


@dataclass(frozen=True, kw_only=True)
class Books:
    """The codebooks of one tokenizer.

    Attributes:
        name: how the packing and the table call it; unique in a vocabulary.
        modality: which pair of special tokens brackets it.
        vocab_sizes: V of each codebook, K numbers.
    """

    name: str
    modality: Literal["image", "audio"]
    vocab_sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.name or len(self.name) > _LONGEST or ":" in self.name or any(c.isspace() for c in self.name):
            rule = f"it must be a word of at most {_LONGEST} letters without ':' (it is part of token strings)"
            raise ConfigError(f"name is {self.name!r:.200}; {rule}.")
        if not self.vocab_sizes or min(self.vocab_sizes) < 1:
            raise ConfigError(f"vocab_sizes of {self.name!r:.200} is {self.vocab_sizes}; give one positive number a codebook.")

    @staticmethod
    def of(name: str, spec: TokenizerSpec, *, num_codebooks: int | None = None) -> "Books":
        """The codebooks of a tokenizer with this `spec`, or its first `num_codebooks`."""
        if spec.modality not in ("image", "audio"):
            raise ConfigError(f"{name!r} tokenizes {spec.modality}s, not pictures or sound; build its Books with a modality.")
        modality: Literal["image", "audio"] = "image" if spec.modality == "image" else "audio"
        return Books(name=name, modality=modality, vocab_sizes=spec.vocab_sizes[:num_codebooks])


@dataclass(frozen=True, kw_only=True)
class Reserved:
    """`size` ids that nothing uses, after the part called `after`: "text", "specials" or a tokenizer's name."""

    name: str
    size: int
    after: str = "text"


@dataclass(frozen=True, kw_only=True)
class IdRange:
    """Ids `start .. stop - 1` and what they are; `book` is k for the codebooks of `owner`, else -1."""

    owner: str
    start: int
    size: int
    book: SignedInt = -1

    @property
    def stop(self) -> int:
        """End of the id range, exclusive: the last id plus 1."""
        return self.start + self.size

    @property
    def label(self) -> str:
        """The owner, with the codebook where it is one."""
        return self.owner if self.book < 0 else f"{self.owner} codebook {self.book}"


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """One id space. Frozen, and a config: `from_mapping` and `to_mapping` of `codecs/config.py` read and write it.

    Attributes:
        media: the tokenizers, in the order of their ids.
        text_size: ids `0 .. text_size - 1` belong to the text tokenizer; 0: none.
        text_specials: specials that the text tokenizer already has, by name (`{"pad": 0}`); they get no second id.
        reserved: declared gaps.
        multiple_of: the size is rounded up to a multiple of this (embedding rows that divide well).
    """

    media: tuple[Books, ...] = ()
    text_size: int = 0
    text_specials: dict[str, int] = field(default_factory=dict)
    reserved: tuple[Reserved, ...] = ()
    multiple_of: int = 1

    def __post_init__(self) -> None:
        parts = ["text", "specials", "filling", *(b.name for b in self.media)]
        names = [*parts, *(r.name for r in self.reserved)]
        double = sorted({n for n in names if names.count(n) > 1})
        if double:
            raise ConfigError(f"the name {double[0]!r:.200} stands twice in the vocabulary; names must be unique.")
        if self.text_size < 0 or self.multiple_of < 1:
            raise ConfigError(f"text_size is {self.text_size}, multiple_of {self.multiple_of}; allowed: from 0, from 1.")
        for r in self.reserved:
            if r.size < 1 or r.after not in parts or r.after == "filling":
                raise ConfigError(f"reserved {r.name!r:.200}: size {r.size} after {r.after!r:.200}.{nearest(r.after, parts)}")
        for name, i in self.text_specials.items():
            if name not in SPECIALS:
                raise ConfigError(f"text_specials: unknown special {name!r:.200}.{nearest(name, SPECIALS)}")
            if not 0 <= i < self.text_size:
                raise ConfigError(f"text_specials.{name} is {i}; text ids are 0..{self.text_size - 1}.")
        if len(set(self.text_specials.values())) < len(self.text_specials):
            raise ConfigError(f"text_specials gives one id to two specials: {self.text_specials}.")

    def ranges(self) -> tuple[IdRange, ...]:
        """All ranges in the order of their ids, without gaps: each starts at the stop of the one before."""
        out: list[IdRange] = []

        def add(owner: str, size: int, book: int = -1) -> None:
            if size:
                out.append(IdRange(owner=owner, start=out[-1].stop if out else 0, size=size, book=book))

        def add_reserved(after: str) -> None:
            for r in self.reserved:
                if r.after == after:
                    add(r.name, r.size)

        add("text", self.text_size)
        add_reserved("text")
        add("specials", len(SPECIALS) - len(self.text_specials))
        add_reserved("specials")
        for books in self.media:
            for k, v in enumerate(books.vocab_sizes):
                add(books.name, v, k)
            add_reserved(books.name)
        stop = out[-1].stop if out else 0
        add("filling", -stop % self.multiple_of)
        return tuple(out)

    @property
    def size(self) -> int:
        """Ids in all: rows that the embedding needs."""
        return self.ranges()[-1].stop

    def special(self, name: str) -> int:
        """Id of a special token. Raises ConfigError on an unknown name."""
        if name not in SPECIALS:
            raise ConfigError(f"unknown special token {name!r:.200}.{nearest(name, SPECIALS)}")
        if name in self.text_specials:
            return self.text_specials[name]
        start = next(r.start for r in self.ranges() if r.owner == "specials")
        return start + [s for s in SPECIALS if s not in self.text_specials].index(name)

    def specials(self) -> dict[str, int]:
        """All special tokens and their ids."""
        return {name: self.special(name) for name in SPECIALS}

    def books(self, name: str) -> Books:
        """The entry of one tokenizer. Raises ConfigError on an unknown name."""
        for books in self.media:
            if books.name == name:
                return books
        known = [b.name for b in self.media]
        raise ConfigError(f"the vocabulary has no tokenizer {name!r:.200}.{nearest(name, known)}")

    def offsets(self, name: str) -> tuple[int, ...]:
        """First id of each codebook of a tokenizer, K numbers."""
        self.books(name)
        return tuple(r.start for r in self.ranges() if r.owner == name and r.book >= 0)

    def to_ids(self, name: str, ids: Tensor) -> Tensor:
        """A tokenizer's own ids `[..., K, L]` as ids of this space, same shape.

        Raises:
            ValueError: another number of codebooks, or an id outside its codebook (it would be another codebook's).
        """
        sizes = torch.tensor(self.books(name).vocab_sizes, device=ids.device)[:, None]  # [K, 1]
        if ids.ndim < 2 or ids.shape[-2] != len(sizes):
            raise ValueError(f"ids must be [..., K={len(sizes)}, L] for {name!r}; got {list(ids.shape)}.")
        wrong = (ids < 0) | (ids >= sizes)
        if bool(wrong.any()):
            at = wrong.nonzero()[0].tolist()
            v = int(sizes[at[-2]])
            raise ValueError(f"id {int(ids[tuple(at)])} at {at} lies outside codebook {at[-2]} of {name!r} (0..{v - 1}).")
        return ids.long() + torch.tensor(self.offsets(name), device=ids.device)[:, None]

    def from_ids(self, name: str, ids: Tensor) -> tuple[Tensor, Tensor]:
        """What ids of this space are to one tokenizer.

        Args:
            name: the tokenizer.
            ids: int64, any shape, any values.

        Returns:
            (own, book), both int64 of the same shape: the tokenizer's own id and its codebook k; -1 and -1 where the id
            is none of this tokenizer's.
        """
        starts = torch.tensor(self.offsets(name), device=ids.device)
        sizes = torch.tensor(self.books(name).vocab_sizes, device=ids.device)
        book = (torch.searchsorted(starts, ids.contiguous(), right=True) - 1).clamp(min=0)
        own = ids - starts[book]
        inside = (own >= 0) & (own < sizes[book])
        return torch.where(inside, own, -1), torch.where(inside, book, -1)

    def describe(self, index: int) -> str:
        """What one id is, in words: `speech codebook 1 id 17`, `special 'pad'`, `text 5`, `outside 0..99`."""
        for name, i in self.specials().items():
            if i == index:
                return f"special {name!r}"
        for r in self.ranges():
            if r.start <= index < r.stop:
                return f"{r.label} id {index - r.start}" if r.book >= 0 else f"{r.label} {index - r.start}"
        return f"outside 0..{self.size - 1}"

    def new_tokens(self) -> list[str]:
        """The strings of ids `text_size .. size - 1`, in order: what a text tokenizer must learn, reserved ids too."""
        own = [s for s in SPECIALS if s not in self.text_specials]
        out = []
        for r in self.ranges():
            if r.owner == "specials":
                out += [f"<|{s}|>" for s in own]
            elif r.owner != "text":
                head = f"<|{r.owner}:" if r.book < 0 else f"<|{r.owner}:{r.book}:"
                out += [f"{head}{i}|>" for i in range(r.size)]
        return out

    def table(self) -> str:
        """The id space as a table for people: range, size, what it is; then the special tokens."""
        width = len(str(self.size))
        lines = [f"{'first':>{width}}  {'last':>{width}}  {'size':>{width}}  what"]
        lines += [f"{r.start:>{width}}  {r.stop - 1:>{width}}  {r.size:>{width}}  {r.label}" for r in self.ranges()]
        lines.append(f"{self.size} ids. Specials: " + ", ".join(f"{n} {i}" for n, i in self.specials().items()))
        return "\n".join(lines)
