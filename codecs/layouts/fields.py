"""Strict reading of an authors' config: every key must be read or dropped by name, otherwise it is an error."""

import warnings
from collections.abc import Mapping
from typing import Any

from ..config import nearest

_MISSING = object()

#: Keys that `transformers` writes, or once wrote, into every config.json and that do not affect these networks.
TRANSFORMERS_KEYS = (
    "_attn_implementation", "_attn_implementation_autoset", "_commit_hash", "_name_or_path", "add_cross_attention",
    "architectures", "attn_implementation", "auto_map", "bad_words_ids", "begin_suppress_tokens", "bos_token_id",
    "chunk_size_feed_forward", "cross_attention_hidden_size", "decoder_start_token_id", "diversity_penalty", "do_sample",
    "dtype", "early_stopping", "encoder_no_repeat_ngram_size", "eos_token_id", "exponential_decay_length_penalty",
    "finetuning_task", "forced_bos_token_id", "forced_eos_token_id", "id2label", "is_decoder", "is_encoder_decoder",
    "label2id", "length_penalty", "max_length", "min_length", "model_type", "no_repeat_ngram_size", "num_beam_groups",
    "num_beams", "num_return_sequences", "output_attentions", "output_hidden_states", "output_scores", "pad_token_id",
    "prefix", "problem_type", "pruned_heads", "remove_invalid_values", "repetition_penalty", "return_dict",
    "return_dict_in_generate", "sep_token_id", "suppress_tokens", "task_specific_params", "temperature", "tf_legacy_loss",
    "tie_encoder_decoder", "tie_word_embeddings", "tokenizer_class", "top_k", "top_p", "torch_dtype", "torchscript",
    "transformers_version", "typical_p", "use_bfloat16", "use_cache",
)  # fmt: skip

#: Keys that a reference folder adds to the authors' own.
FOLDER_KEYS = ("source", "versions", "notes")


class Fields:
    """Reader of one mapping, key by key; `done` raises if there are unread keys.

        fields = Fields(config, "config")
        width = fields.take("n_filters", 32)
        fields.drop("name")            # without effect on ids and waveforms
        fields.done()
    """

    def __init__(self, values: Mapping[str, Any], name: str) -> None:
        if not isinstance(values, Mapping):
            raise ValueError(f"{name} must be a mapping, got {values!r}.")
        self._left, self._known, self.name = dict(values), set[str](), name

    def take(self, key: str, default: Any = _MISSING) -> Any:
        """Return the value of `key`, or `default` where the authors' class has one.

        Raises:
            ValueError: the key is missing and has no default.
        """
        self._known.add(key)
        if key in self._left:
            return self._left.pop(key)
        if default is _MISSING:
            raise ValueError(f"{self.name} lacks the key {key!r}.{nearest(key, list(self._left))}")
        return default

    def one_of(self, key: str, allowed: Mapping[Any, Any], default: Any = _MISSING) -> Any:
        """Return the entry of `allowed` for the value of `key`.

        Raises:
            ValueError: the value is not in `allowed`.
        """
        value = self.take(key, default)
        if isinstance(value, (list, Mapping)) or value not in allowed:
            raise ValueError(f"{self.name}.{key} is {value!r}; supported: {', '.join(repr(v) for v in allowed)}.")
        return allowed[value]

    def require(self, key: str, value: Any, default: Any = _MISSING) -> None:
        """Read `key`, whose only supported value is `value`.

        Raises:
            ValueError: `key` has another value.
        """
        got = self.take(key, value if default is _MISSING else default)
        if got != value:
            raise ValueError(f"{self.name}.{key} is {got!r}; only {value!r} is supported.")

    def drop(self, *keys: str) -> None:
        """Ignore keys without effect on ids and reconstructions (training settings, labels, numbers that the class derives itself)."""
        self._known.update(keys)
        for key in keys:
            self._left.pop(key, None)

    def done(self, *, swallowed: bool = False) -> None:
        """Check that every key was read or dropped.

        Args:
            swallowed: the authors' class accepts and ignores unknown keys (`**kwargs`, as all configs of transformers and
                diffusers do): unread keys then give one warning that names them.

        Raises:
            ValueError: there are unread keys, and not `swallowed`.
        """
        if not self._left:
            return
        keys = sorted(self._left)
        hint = nearest(keys[0], sorted(self._known))
        if swallowed:
            shown = ", ".join(f"{k} = {self._left[k]!r}" for k in keys[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")
            warnings.warn(f"{self.name} has keys that the authors' class ignores; they are ignored here too: {shown}.", stacklevel=3)
            return
        raise ValueError(f"{self.name} has the key {keys[0]!r} (value {self._left[keys[0]]!r}), which is not known.{hint}")
