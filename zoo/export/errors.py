"""The error of halves that cannot be exported."""

from typing import Any


class NotExportable(ValueError):
    """This half of the tokenizer has no exported form; the message names the family and the reason."""

    def __init__(self, tokenizer: Any, part: str, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the {part} of this {tokenizer.family} tokenizer cannot be exported: {reason}.")
