"""The media tokens of a `Vocabulary` in a text tokenizer of transformers (imported only when a function is called)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .vocabulary import Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class Extension:
    """What `tokenizer_extension` did.

    Attributes:
        rows_before: embedding rows that the text model has, `vocabulary.text_size`.
        rows_after: rows that it needs: `model.resize_token_embeddings(rows_after)`.
        new_rows: rows that did not exist and start untrained.
        idle_rows: rows that the text model has but no token used; they got names, so that later ids fall in place.
        added: tokens added by this call; 0 where the tokenizer had them all.
    """

    rows_before: int
    rows_after: int
    new_rows: range
    idle_rows: range
    added: int


def tokenizer_extension(tokenizer: PreTrainedTokenizerFast, vocabulary: Vocabulary) -> Extension:
    """Add the tokens of `vocabulary` to `tokenizer`, in place, at exactly the ids that the vocabulary gives them.

    Strings are `<|begin_audio|>`, `<|NAME:codebook:id|>`; all are special tokens: never split, and left out of decoded
    text with `skip_special_tokens=True`. Calling it again changes nothing.

    Args:
        tokenizer: a fast tokenizer whose ids are all below `vocabulary.text_size`.
        vocabulary: its `text_size` is the number of embedding rows of the text model (`model.config.vocab_size`), often
            more than `len(tokenizer)`; its `text_specials` name ids that the tokenizer has.

    Returns:
        `Extension`; `new_rows` are the rows of the embedding to initialise and train.

    Raises:
        ValueError: `text_size` is smaller than the tokenizer, the tokenizer has these tokens at other ids, or it has no
            token at one of `text_specials`; it is left as it was.
    """
    from transformers import AddedToken

    names = [f"<|text:{i}|>" for i in range(vocabulary.text_size)] + vocabulary.new_tokens()
    at = {name: i for i, name in enumerate(names)}
    have = tokenizer.get_vocab()
    wrong = [n for n, i in have.items() if at.get(n, i) != i]
    if wrong:
        raise ValueError(f"the tokenizer has {wrong[0]} at id {have[wrong[0]]}: it was extended with another vocabulary.")
    used = max(have.values(), default=-1) + 1  # ids may have holes; new ones come after the last
    text = max((i for n, i in have.items() if n not in at), default=-1) + 1
    if text > vocabulary.text_size:
        raise ValueError(
            f"the tokenizer has ids up to {text - 1}, the vocabulary starts its own at text_size {vocabulary.text_size}; "
            f"set text_size to the model's embedding rows, at least {text}."
        )
    known = set(have.values())
    for name, i in vocabulary.text_specials.items():
        if i not in known:
            raise ValueError(f"text_specials.{name} is {i}; the tokenizer has no token there.")
    missing = names[used:]
    added = tokenizer.add_tokens([AddedToken(n, special=True, normalized=False) for n in missing], special_tokens=True)
    ids: Any = tokenizer.convert_tokens_to_ids(missing)  # a list for a list
    off = [(n, i) for n, i, want in zip(missing, ids, range(used, len(names)), strict=True) if i != want]
    if off:
        raise ValueError(f"the tokenizer put {off[0][0]} at id {off[0][1]}, not where the vocabulary has it.")
    return Extension(
        rows_before=vocabulary.text_size,
        rows_after=vocabulary.size,
        new_rows=range(vocabulary.text_size, vocabulary.size),
        idle_rows=range(text, vocabulary.text_size),
        added=added,
    )
