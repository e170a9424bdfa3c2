"""Token corpora as a language: how often ids occur, what predicts them, and what compressors make of them.

    sources.py      items of a corpus or of a text, and the bounded sample of them that most figures are taken from
    counting.py     entropies, given contexts too, and mutual information, out of plain counts, with their bias
    growth.py       rank-frequency (Zipf) and growth of the vocabulary (Heaps)
    orders.py       which earlier ids are the context of an id: raster, time, sequence, codebooks, position
    neighbours.py   mutual information over distance, and between codebooks
    compressors.py  Huffman and LZMA
    ppm.py          prediction by partial matching
    ngram.py        interpolated n-grams on held-out items
    drift.py        how far two corpora are apart
    figures.py      the figures of one codebook and of one source
    report.py       all of it for one corpus: `language`, as a table and as JSON
    plots.py        PNG files

`tokenzoo corpus stats FOLDER --language`; README.md of the folder above says how to read it.
"""
