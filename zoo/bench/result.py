"""What a bench found: for a terminal, as JSON, and read back from the folder that it was written into."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...codecs.config import ConfigError
from . import table
from .settings import corpus_of
from .worker import read_result


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What a bench found.

    Attributes:
        head: command, data, modality, corpus, device, dtype, threads, versions, date.
        results: one for each tokenizer that could be measured, then one for each classical codec; as in `results/NAME.json`.
        failed: tokenizer -> why it could not be measured.
    """

    head: dict[str, Any]
    results: list[dict[str, Any]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """The tables for a terminal."""
        return table.text(self.head, self.results, self.failed)

    def rows(self) -> list[table.Row]:
        """One row for each tokenizer and setting."""
        return table.rows_of(self.results)

    def as_json(self) -> dict[str, Any]:
        """Everything as a mapping for JSON."""
        units = {n: {"unit": unit, "better": better} for n, (unit, better) in table.COLUMNS.items()}
        used = set(table.columns_of(self.rows()))
        columns = {n: about for n, about in units.items() if n in used}
        return {**self.head, "columns": columns, "results": self.results, "failed": self.failed}

    @classmethod
    def read(cls, folder: str | Path) -> "Bench":
        """The bench that was written into a folder.

        Raises:
            ConfigError: the folder holds none.
        """
        found = read_result(Path(folder) / "bench.json")
        if found is None or not {"results", "failed", "modality"} <= set(found):
            raise ConfigError(f"{folder} holds no bench.json of a bench; `tokenzoo bench NAMES --data FILES -o {folder}` writes it.")
        head = {k: v for k, v in found.items() if k not in ("columns", "results", "failed")}
        return cls(head=head, results=found["results"], failed=found["failed"])

    def first_files(self, data: Sequence[str | Path], most: int = 3) -> list[str]:
        """The first files of the set that `data` names, for a page to show."""
        modality = self.head["modality"]
        if not modality:
            return []
        return [str(p) for p in corpus_of(tuple(map(str, data)), modality, most, films=self.head.get("films", False)).files]

    @property
    def complete(self) -> bool:
        """Whether every tokenizer, setting and item could be measured."""
        return not table.failures(self.results, self.failed)
