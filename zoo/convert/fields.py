"""Reading an authors' config strictly: every key is taken, or named as without effect, or an error."""

from collections.abc import Mapping
from typing import Any

from ...codecs.config import nearest

_MISSING = object()

#: Keys that `transformers` writes into every config.json and that say nothing about these networks.
TRANSFORMERS_KEYS = (
    "_name_or_path", "architectures", "auto_map", "chunk_size_feed_forward", "dtype", "id2label", "is_encoder_decoder",
    "label2id", "model_type", "output_attentions", "output_hidden_states", "problem_type", "return_dict", "torch_dtype",
    "transformers_version", "use_bfloat16",
)  # fmt: skip

#: Keys that a reference folder adds to the authors' own.
FOLDER_KEYS = ("source", "versions", "notes")


class Fields:
    """The keys of one mapping, handed out one by one; `done` complains about those that nobody took.

        fields = Fields(config, "config")
        width = fields.take("n_filters", 32)
        fields.drop("name")            # without effect on ids and waveforms
        fields.done()
    """

    def __init__(self, values: Mapping[str, Any], name: str) -> None:
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
        """Return what `allowed` says for the value of `key`.

        Raises:
            ValueError: another value.
        """
        value = self.take(key, default)
        if value not in allowed:
            raise ValueError(f"{self.name}.{key} is {value!r}; supported: {', '.join(repr(v) for v in allowed)}.")
        return allowed[value]

    def require(self, key: str, value: Any, default: Any = _MISSING) -> None:
        """Take `key`, whose only supported value is `value`.

        Raises:
            ValueError: another value.
        """
        got = self.take(key, value if default is _MISSING else default)
        if got != value:
            raise ValueError(f"{self.name}.{key} is {got!r}; only {value!r} is supported.")

    def drop(self, *keys: str) -> None:
        """Name keys that change neither ids nor waveforms (training settings, labels)."""
        for key in keys:
            self._left.pop(key, None)

    def done(self) -> None:
        """Raise ValueError where keys are left that nobody took."""
        if self._left:
            key = sorted(self._left)[0]
            raise ValueError(
                f"{self.name} has the key {key!r} (value {self._left[key]!r}), which is not known."
                f"{nearest(key, sorted(self._known))}"
            )
