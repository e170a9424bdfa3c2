"""From tokens to the training set of an autoregressive model.

    vocabulary.py   one id space for text, special tokens and the codebooks of several tokenizers
    packing/        tokens to sequences and back exactly, one file a pattern
    hf.py           the media tokens in a text tokenizer of transformers

Nothing is imported here: `from tokenzoo.zoo.corpus.packing import DelayConfig`.
"""
