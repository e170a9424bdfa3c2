"""Original and decoded sound as the lists that VERSA scores (github.com/shinjiwlab/versa, `versa/bin/scorer.py --io soundfile`).

    lists = write_lists("speech-16khz-4kbps", ["clips/"], "versa")
    print(lists.command("egs/codec_16k.yaml"))      # in a checkout of VERSA

A line of such a list is a key without spaces, and the path of a sound file.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...codecs.config import ConfigError
from ...codecs.files import write_text
from ...codecs.media import AUDIO_ENDINGS, MediaError, read_audio
from ...codecs.modalities import is_sound
from ...codecs.tokenizer import Tokenizer
from ..finding import find
from ..hub import load
from ..media_out import write_audio
from ..progress import Bar


@dataclass(frozen=True)
class Lists:
    """What was written.

    Attributes:
        gt, pred: lists of the originals and of the decoded sound, with the same keys.
        failed: file -> why it is in neither.
    """

    gt: Path
    pred: Path
    failed: dict[str, str]

    def command(self, score_config: str, output: str = "scores.jsonl") -> str:
        """The command line that scores them, in a checkout of VERSA; `score_config` is one of its `egs/*.yaml`."""
        words = ["python", "versa/bin/scorer.py", "--score_config", score_config, "--gt", str(self.gt.absolute())]
        words += ["--pred", str(self.pred.absolute()), "--output_file", output, "--io", "soundfile"]
        return shlex.join(words)


def write_lists(
    name: str | Tokenizer,
    files: Sequence[str | Path],
    out: str | Path,
    *,
    codebooks: int | None = None,
    limit: int = 0,
    progress: bool = False,
    **options: Any,
) -> Lists:
    """Encode and decode sound files; write both versions as 16-bit WAV of one rate and length, and the two lists.

    Args:
        name: as `tokenzoo.load` takes it, or a loaded tokenizer of sound.
        files: files, folders (with all below them), patterns, .txt lists.
        out: folder for `gt/`, `pred/`, `gt.scp` and `pred.scp`; made if missing.
        codebooks: the first of them only; None: all.
        limit: at most this many files (0: all).
        progress: show a bar on a terminal.
        options: of `tokenzoo.load`.

    Raises:
        ConfigError: no tokenizer of sound, or one that only encodes.
        MediaError: none of the files could be read.
    """
    tokenizer, out = name if isinstance(name, Tokenizer) else load(name, **options), Path(out)
    if not is_sound(tokenizer) or not tokenizer.spec.decodes:
        raise ConfigError(f"{tokenizer.source or tokenizer.family} decodes to no sound; VERSA scores sound.")
    found = find([str(f) for f in files], AUDIO_ENDINGS)
    found = found[:limit] if limit else found
    keys, failed, rows = _keys([f.inside for f in found]), dict[str, str](), list[str]()
    for folder in ("gt", "pred"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    with Bar(len(found), "decoding", show=progress) as bar:
        for file, key in zip(found, keys, strict=True):
            try:
                clip = read_audio(file.path)
                tokens = tokenizer.encode(clip, **({} if codebooks is None else {"num_codebooks": codebooks}))
                decoded, rate = tokenizer.decode(tokens)[0], tokenizer.rate_of(tokens)
                original = clip.samples if rate == clip.sample_rate_hz else _at(clip, rate)
                write_audio(out / "gt" / f"{key}.wav", original[:, : decoded.shape[1]], rate)
                write_audio(out / "pred" / f"{key}.wav", decoded, rate)
                rows.append(key)
            except (ValueError, OSError) as error:  # of one file; the others are still written
                failed[str(file.path)] = str(error)
            bar.step()
    if not rows:
        raise MediaError(f"none of {len(found)} files could be coded; the first: {next(iter(failed.values()), 'there is none')}")
    for folder in ("gt", "pred"):
        lines = [f"{key} {(out / folder / f'{key}.wav').absolute()}\n" for key in rows]
        write_text(out / f"{folder}.scp", "".join(lines))
    return Lists(out / "gt.scp", out / "pred.scp", failed)


def _at(clip: Any, rate: int) -> Any:
    from ...codecs.media import resample

    return resample(clip.samples, clip.sample_rate_hz, rate)


def _keys(paths: Sequence[Path]) -> list[str]:
    """A key for each file: its path without spaces and signs, and with a number where two would be alike."""
    keys, taken = list[str](), set[str]()
    for path in paths:
        plain = re.sub(r"[^\w.-]+", "_", path.with_suffix("").as_posix()).strip("_.") or "item"
        key, number = plain, 1
        while key.casefold() in taken:
            number += 1
            key = f"{plain}-{number}"
        taken.add(key.casefold())
        keys.append(key)
    return keys
