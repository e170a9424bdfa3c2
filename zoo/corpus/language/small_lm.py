"""Perplexity of a language model that `tokenzoo lm` trained, on held-out items of a corpus and of another one."""

from pathlib import Path
from typing import Any

from ....codecs.config import ConfigError, from_mapping
from ..files import CorpusError, read_json
from ..lm import LMConfig, measure_model, open_tokens
from ..models.base import load_generator


def lm_perplexity(run: str | Path, folder: str | Path, against: str | Path | None = None) -> dict[str, dict[str, Any]]:
    """Bits and perplexity an id on the items that `tokenzoo lm` holds out, by "held out" and "held out of OTHER".

    The run has not seen these items if it held them out itself: if it named no `valid`.

    Args:
        run: output folder of a finished run.
        folder: of the corpus that it was trained on.
        against: of another corpus by the same tokenizer.

    Returns:
        for each: bits, perplexity, ids, and bits_mean, what kind of figure the model gives.

    Raises:
        CorpusError: no such folders, or ids of another tokenizer than the run's.
    """
    path = Path(run) / "report.json"
    if not path.is_file():
        raise CorpusError(f"{run} holds no report.json; name the output folder of a finished run of `tokenzoo lm`.")
    report = read_json(path)
    try:
        config = from_mapping(LMConfig, report["config"], "config")
        sha256 = report["tokenizer_sha256"]
    except (KeyError, TypeError, ConfigError) as error:
        raise CorpusError(f"{path} is no report of `tokenzoo lm`: {error}") from error
    model, out = load_generator(Path(run) / "model"), {}
    train = open_tokens(Path(folder), config, "train")
    for name, place in {"held out": folder, f"held out of {against}": against}.items():
        if place is None:
            continue
        data = open_tokens(Path(place), config, "valid")
        if data.manifest["tokenizer"]["sha256"] != sha256:
            raise CorpusError(f"{place} holds ids of another tokenizer than the one that the model in {run} was trained on.")
        found = measure_model(model, train, data, config)
        out[name] = {"bits": found["bits"], "perplexity": 2 ** found["bits"], "ids": found["valid_tokens"]}
        out[name]["bits_mean"] = found["bits_mean"]
    return out
