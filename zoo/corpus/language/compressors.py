"""What two well-known compressors make of ids, in bits an id. Letters: N ids, V codebook size."""

import heapq
import lzma
from collections.abc import Sequence

import numpy as np

from ..records import id_type


def huffman_bits(counts: np.ndarray) -> float:
    """Mean length of the Huffman code made for these counts, without its table; at least 1 for two ids or more, 0 for one."""
    heap = [int(c) for c in counts if c > 0]
    total, length = sum(heap), 0
    heapq.heapify(heap)
    while len(heap) > 1:
        both = heapq.heappop(heap) + heapq.heappop(heap)
        length += both
        heapq.heappush(heap, both)
    return length / max(1, total)


def lzma_bits(items: Sequence[np.ndarray], vocab_size: int) -> float:
    """Bits an id of LZMA2 (preset 6, no container) over the ids of all items, each in the smallest unsigned type that holds V."""
    kind = np.dtype(id_type(vocab_size)).newbyteorder("<")
    align = {1: 0, 2: 1, 4: 2}[kind.itemsize]  # log2 of the bytes of an id: LZMA models each byte by its place in the id
    chain = [{"id": lzma.FILTER_LZMA2, "preset": 6, "lc": 3 - (align == 2), "lp": align, "pb": align}]
    packer = lzma.LZMACompressor(lzma.FORMAT_RAW, filters=chain)
    written = sum(len(packer.compress(x.astype(kind).tobytes())) for x in items) + len(packer.flush())
    return 8 * written / max(1, sum(len(x) for x in items))
