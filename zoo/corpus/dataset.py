"""`TokenDataset`: shards that `tokenize` wrote, as training samples. No model is loaded, and only what is requested is read.

    data = TokenDataset("tokens/", block=1024, seed=0)       # or without block: one document a sample
    loader = data.loader(32, rank=rank, world=world, num_workers=4)
    for batch in loader:
        batch["input_ids"], batch["labels"], batch["document_ids"], batch["position_ids"]   # [32 / world, 1024] each

Everything follows from the seed and the sample's position in an endless sequence: a run that stopped after `n` samples resumes
exactly with `start=n` or `loader.load_state_dict`, in the middle of an epoch too, on any number of ranks and workers.

Letters: B batch, K codebooks, S steps of a sample.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...codecs.config import from_mapping, to_mapping
from ...codecs.tokens import Tokens
from .blocks import Blocks, Piece, _permutation
from .manifest import PACKING, CorpusError, check_file, open_shards, read_manifest
from .packing.base import Packing, load_packing
from .packing.results import IGNORE, Side
from .plain import Choice, is_whole, packing_of
from .records import VECTORS, Layout, to_tokens
from .samples import Samples
from .splits import documents_of

#: Packed documents that are kept for the next block.
_KEEP = 16

#: What a document may go through before it is packed: a crop, fewer positions. Random numbers come from the sample's place.
Transform = Callable[[Tokens, np.random.Generator], Tokens]


class TokenDataset(Samples):
    """Samples by position.

    Args:
        folder: of a finished corpus.
        packing: tokens to ids: a name ("delay"), a mapping of a kind and its settings, a `packing.json`, or a `Packing`; None: that
            of the corpus (formats of packed sequences), else the plain one.
        block: steps of a sample; 0: one document a sample, of its own length.
        seed: of the order, another one in every epoch; None: the order of the corpus.
        whole_documents: blocks hold whole documents and are padded; else documents are cut where a block is full.
        codebooks: keep the first `codebooks` codebooks; not with a packing that specifies its own number.
        transform: applied to each document's tokens before packing; not with `block`, which needs lengths beforehand.
        split: take only one part of the documents: "train", "valid" or "test", or a name in `splits`; None: take all.
        splits: each part's share of the documents, in sum at most 1; None: 0.98, 0.01 and 0.01. See `splits.py`.
        split_by: column whose equal values stay in one part, such as "speaker"; "key": each document by itself.
        cache: folder for unpacked Parquet files; None: the user's own, `$TOKENZOO_CACHE` or `~/.cache/tokenzoo`.
        check: read every file once when it is opened, and compare its checksum. False opens large corpora at once, if they are
            known to be whole; sizes, indexes and the unpacked Parquet files are still checked.

    Raises:
        CorpusError: no finished corpus, one of another version, or one that was altered.
        ValueError: settings that exclude each other, an unknown part or column, or a part without documents.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        packing: Choice = None,
        block: int = 0,
        seed: int | None = 0,
        whole_documents: bool = False,
        codebooks: int | None = None,
        transform: Transform | None = None,
        split: str | None = None,
        splits: Mapping[str, float] | None = None,
        split_by: str = "key",
        cache: str | Path | None = None,
        check: bool = True,
    ) -> None:
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)
        self.layout = from_mapping(Layout, self.manifest["layout"])
        self.shards = open_shards(self.folder, self.manifest, cache, check=check)
        self.ends = np.cumsum([len(s) for s in self.shards])
        #: number in the corpus of each document of the part; None: all
        self.chosen = None if split is None else self._part(split, splits, split_by)
        self.stored = self._stored()
        if is_whole(packing) and codebooks is not None:
            raise ValueError("give either a packing or codebooks: a packing specifies how many codebooks it takes.")
        self.codebooks, self.transform = codebooks, transform
        self.packing = self._packing(packing)
        if packing is not None:
            self.codebooks = len(self.packing.vocab_sizes)
        #: packed ids are taken from disk as they are
        self.direct = self.stored is not None and self.stored.config == self.packing.config and transform is None
        if block and transform is not None:
            raise ValueError("block packs documents by their stored lengths; a transform may change them. Leave one out.")
        self.block, self.seed = block, seed
        self.kept: OrderedDict[int, tuple[Tensor, Tensor]] = OrderedDict()
        self.blocks = Blocks(self.steps(), block, seed, whole=whole_documents) if block else None
        self.order, self.epoch = np.arange(self.documents), -1
        self._settings = {"split": split, "splits": None if splits is None else dict(splits), "split_by": split_by}
        self._settings |= {"block": block, "whole_documents": whole_documents, "seed": seed, "codebooks": self.codebooks}

    def settings(self) -> dict[str, Any]:
        """See `Samples`; `transform` is not part of it."""
        return {
            "corpus": _digest({k: v for k, v in self.manifest.items() if k != "library_version"}),
            "packing": _digest(to_mapping(self.packing.config)),
            **self._settings,
        }

    def _part(self, split: str, splits: Mapping[str, float] | None, column: str) -> np.ndarray:
        keys: list[object] = []
        for shard in self.shards:
            try:
                keys += shard.column(column)
            except KeyError:
                keys.append(None)
        if None in keys:
            raise ValueError(f"{self.folder}: not every document has a {column!r} to split by; 'key' always is there.")
        chosen = documents_of(split, keys, splits)
        if not len(chosen):
            raise ValueError(f"{self.folder}: part {split!r} holds none of the {len(keys)} documents; give it a larger share.")
        return chosen

    def _stored(self) -> Packing | None:
        """The packing of the shards; its file is small and always checked."""
        facts = self.manifest.get("packing_file")
        if facts is None:
            return None
        if wrong := check_file(self.folder, PACKING, facts):
            raise CorpusError(f"{self.folder}: {wrong}. Without it the ids have no meaning; copy it again from its source.")
        return load_packing(self.folder / PACKING)

    # --- documents ------------------------------------------------------------------------------------------------

    @property
    def documents(self) -> int:
        """Number of items of the corpus, or of the part of it."""
        if self.chosen is not None:
            return len(self.chosen)
        return int(self.ends[-1]) if len(self.ends) else 0

    def _find(self, document: int) -> tuple[Any, int]:
        if not 0 <= document < self.documents:
            raise IndexError(f"document {document} of {self.documents}")
        document = document if self.chosen is None else int(self.chosen[document])
        shard = int(np.searchsorted(self.ends, document, side="right"))
        return self.shards[shard], document - (int(self.ends[shard - 1]) if shard else 0)

    def tokens(self, document: int) -> Tokens:
        """Tokens of one document, a batch of one, equal to the output of `encode`."""
        shard, index = self._find(document)
        row, ids = shard.row(index), shard.sequence(index)
        if ids is None:
            return to_tokens(row, self.layout)
        assert self.stored is not None
        side = to_tokens(row | {f"ids_{k}": np.zeros(n) for k, n in enumerate(self.layout.counts(row["length"]))}, self.layout)
        return self.stored.unpack(torch.from_numpy(ids.astype(np.int64)), side=Side.of(side)).tokens

    def metadata(self, document: int) -> dict[str, Any]:
        """Source key and the source's own columns of one document."""
        shard, index = self._find(document)
        own = {f"ids_{k}" for k in range(len(self.layout.vocab_sizes))}
        own |= {"length", "grid", "size", "sample_rate_hz", "scale", "book_grids", *(VECTORS + n for n in self.layout.side_vectors)}
        return {k: v for k, v in shard.row(index).items() if k not in own}

    def packed(self, document: int, rng: np.random.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Ids and labels of one document, int64 `[S]`, or `[K, S]` of packings with K streams; labels are not shifted."""
        if self.direct:
            shard, index = self._find(document)
            ids = torch.from_numpy(shard.sequence(index).astype(np.int64))
            labels = ids.clone()
            if not self.packing.config.learn_begin:
                labels[0] = IGNORE
            return ids, labels
        tokens = self.tokens(document)
        if self.codebooks is not None and self.codebooks < tokens.num_codebooks:
            tokens = tokens.first(codebooks=self.codebooks)
        if self.transform is not None:
            tokens = self.transform(tokens, rng or np.random.default_rng(0))
        packed = self.packing.pack(tokens)
        return packed.input_ids[0], packed.labels[0]

    def steps(self) -> np.ndarray:
        """Steps of each document once packed, int64 `[documents]`, from lengths and grids alone if the packing lets them follow."""
        if not self.packing.fixed_steps:
            return np.array([self.packed(d)[0].shape[-1] for d in range(self.documents)], np.int64)
        known: dict[tuple[int, tuple[int, ...]], int] = {}
        out: list[int] = []
        for shard in self.shards:
            for length, grid in zip(shard.column("length"), shard.column("grid"), strict=True):
                key = (int(length), tuple(int(g) for g in grid))
                if key not in known:
                    known[key] = self._steps_of(*key)
                out.append(known[key])
        steps = np.array(out, np.int64)
        return steps if self.chosen is None else steps[self.chosen]

    def _steps_of(self, length: int, grid: tuple[int, ...]) -> int:
        row = {"length": length, "grid": grid, "size": (1,)}
        row |= {f"ids_{k}": np.zeros(n) for k, n in enumerate(self.layout.counts(length))}
        tokens = to_tokens(row, self.layout).first(codebooks=self.codebooks)
        return int(self.packing.pack(tokens).lengths[0])

    def _packing(self, choice: Choice) -> Packing:
        if isinstance(choice, Packing):
            return choice
        if choice is None and self.stored is not None and self.codebooks is None:
            return self.stored
        k = self.codebooks or len(self.layout.vocab_sizes)
        cut = {n: getattr(self.layout, n)[:k] for n in ("vocab_sizes", "strides", "names")}
        layout = Layout(**{**self.layout.__dict__, **cut})
        return packing_of(choice, layout, self.manifest["tokenizer"]["name"]).build()

    # --- samples --------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Samples of an epoch: blocks, or documents."""
        return len(self.blocks) if self.blocks is not None else self.documents

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        """The sample at any position of an endless sequence; position p is in epoch `p // len(self)`.

        Returns:
            input_ids, labels: int64 `[S]` or `[K, S]`; labels are not shifted, -100 where no loss is taken.
            document_ids: int64 `[S]`, 0, 1, .. for the documents of a block, -1 on padding: attention must not cross them
                (`same_document`).
            position_ids: int64 `[S]`, counted from each document's own start, also where a block begins inside of it.
            position: int64, of the sample.
        """
        if position < 0:
            raise IndexError(f"position {position}; allowed: from 0.")
        if not len(self):
            raise CorpusError(f"{self.folder} holds no sample: none of its inputs became tokens.")
        if self.blocks is None:
            document, epoch = self._document(position)
            ids, labels = self.packed(document, np.random.default_rng((self.seed or 0, 1, epoch, document)))
            pieces = [(ids, labels, 0)]
        else:
            pieces = [self._piece(p) for p in self.blocks.pieces(position)]
        return self._sample(pieces, position)

    def _document(self, position: int) -> tuple[int, int]:
        """Document and epoch of a sample without blocks."""
        epoch, place = divmod(position, self.documents)
        if epoch != self.epoch:
            self.order, self.epoch = _permutation(self.documents, self.seed, epoch), epoch
        return int(self.order[place]), epoch

    def _piece(self, piece: Piece) -> tuple[Tensor, Tensor, int]:
        if piece.document not in self.kept:
            self.kept[piece.document] = self.packed(piece.document)
            if len(self.kept) > _KEEP:
                self.kept.popitem(last=False)
        ids, labels = self.kept[piece.document]
        return ids[..., piece.start : piece.stop], labels[..., piece.start : piece.stop], piece.start

    def _sample(self, pieces: list[tuple[Tensor, Tensor, int]], position: int) -> dict[str, Tensor]:
        ids, labels = torch.cat([p[0] for p in pieces], dim=-1), torch.cat([p[1] for p in pieces], dim=-1)
        lengths = [p[0].shape[-1] for p in pieces]
        documents = torch.arange(len(pieces)).repeat_interleave(torch.tensor(lengths))
        positions = torch.cat([torch.arange(start, start + n) for (_, _, start), n in zip(pieces, lengths, strict=True)])
        sample = {"input_ids": ids, "labels": labels, "document_ids": documents, "position_ids": positions}
        sample = self.filled(sample, self.block - sum(lengths)) if self.block else sample
        return sample | {"position": torch.tensor(position)}



def random_window(height: int, width: int) -> Transform:
    """A transform that cuts a random window of `height` x `width` positions out of the grids of pictures or clips.

    All frames of a clip are cut alike, and none is left out. The tokens of a window are not quite those of the cut picture, as
    receptive fields exceed the window. Smaller pictures are kept as they are.

    Raises (the transform):
        ValueError: tokens that are no grid, such as sound or 1-D sequences.
    """

    def cut(tokens: Tokens, rng: np.random.Generator) -> Tokens:
        if len(tokens.grid) not in (2, 3):
            raise ValueError(
                f"a window of {height} x {width} was asked of tokens whose grid is {tokens.grid}; windows are cut out of the grids "
                "of pictures, (h, w), and clips, (t, h, w). Leave the window out."
            )
        *steps, h, w = tokens.grid
        if h < height or w < width:
            return tokens
        top, left = int(rng.integers(h - height + 1)), int(rng.integers(w - width + 1))
        ids = tokens.ids.unflatten(-1, tokens.grid)[..., top : top + height, left : left + width].flatten(2)
        return Tokens(ids=ids, vocab_sizes=tokens.vocab_sizes, grid=(*steps, height, width), names=tokens.names)

    return cut


def _digest(value: Any) -> str:
    """A short checksum of plain values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
