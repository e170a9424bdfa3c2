"""The speech corpus: recorded human voices out of Debian packages, 16 kHz mono, split by speaker.

Telephone prompts, one voice that reads sentences, the dialogues of a game in two languages, and words and picture captions in
about 25 languages by volunteers. The voices of `test` are in no other split. `test_seen` holds sentences that are not in `train`,
by a voice that is, with their text (`transcripts.tsv`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ...codecs.sealing import sha256_of
from ..progress import Bar
from .clips import ClipError, ClipRules, clean, decode, use_one_thread, write_flac
from .manifest import MANIFEST, safe_name, whole_folder, write_rows
from .packages import unpack_all
from .speech_list import write_test_list

TEST_SPEAKERS = (
    "asterisk-en", "tuxpaint-es", "tuxpaint-be", "ktuberling-ru",
    "ktuberling-lt", "ktuberling-da", "klettres-hu", "klettres-nds",
)  # fmt: skip
VALID_SPEAKERS = ("tuxpaint-el", "klettres-uk", "ktuberling-uk", "klettres-he")
SEEN_SPEAKER, SEEN_SENTENCES = "festvox-ru", 60
COLUMNS = ("id", "speaker", "package", "path", "seconds", "sha256", "split")

ASTERISK = tuple(f"asterisk-core-sounds-{language}-g722" for language in ("en", "es", "fr", "ru"))
PACKAGES = (
    *ASTERISK, "festvox-ru", "fillets-ng-data-cs", "fillets-ng-data-nl",
    "tuxpaint-stamps-default", "klettres-data", "ktuberling-data",
)  # fmt: skip

# One volunteer recorded both kinds of Tux Paint clips (found with a speaker network).
_SAME_VOICE = {
    "tuxpaint-words-lt": "tuxpaint-lt",
    "tuxpaint-words-ca": "tuxpaint-ca",
    "tuxpaint-words-it": "tuxpaint-words-sl",
}
# Short words, in languages whose captions are in the test or validation split: possibly the same person, so left out.
_LEFT_OUT = ("tuxpaint-words-es", "tuxpaint-words-be", "tuxpaint-words-el")
_WORD_LANGUAGES = (
    "be", "bg", "ca", "de", "el", "en_GB", "es", "fr", "it", "ja", "ko",
    "lt", "nb", "nl", "nn", "pt", "ro", "ru", "sl", "sv", "tw",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One audio file of a package, with its speaker."""

    speaker: str
    package: str
    path: str  # inside the package
    file: Path

    @property
    def id(self) -> str:
        """Unique inside the speaker's folder: the last two parts of the path."""
        return safe_name("-".join(Path(self.path).with_suffix("").parts[-3:]))


def speaker_of(package: str, path: str) -> str | None:
    """The speaker of a file, judged by its path in the package; None if it holds no speech or is left out."""
    parts, name = Path(path).parts, Path(path).stem
    if package in ASTERISK and path.endswith(".g722"):
        silent = "silence" in parts or name.startswith("beep")
        return None if silent else f"asterisk-{package.split('-')[3]}"
    if package == "festvox-ru" and parts[-2:-1] == ("wav",):
        return "festvox-ru"
    if not path.endswith((".ogg", ".wav")):
        return None
    if package.startswith("fillets-ng-data-"):
        role = name.split("-")[1] if "-" in name else ""
        return f"fillets-{package[-2:]}-{role if role in ('m', 'v') else 'side'}"
    if package == "tuxpaint-stamps-default":
        return _tuxpaint_speaker(name)
    if package == "klettres-data" and parts[-2] in ("alpha", "syllab"):
        return f"klettres-{parts[-3]}"
    if package == "ktuberling-data" and parts[-3] == "sounds" and "@" not in parts[-2]:
        return f"ktuberling-{parts[-2]}"
    return None


def _tuxpaint_speaker(name: str) -> str | None:
    if caption := re.search(r"_desc(?:_([a-z]{2}))?(?:\.ogg)?$", name):
        return f"tuxpaint-{caption[1] or 'en'}"
    if (word := re.search(r"_([a-z]{2}(?:_GB)?)$", name)) and word[1] in _WORD_LANGUAGES:
        speaker = f"tuxpaint-words-{word[1]}"
        return None if speaker in _LEFT_OUT else _SAME_VOICE.get(speaker, speaker)
    return None


def split_of(speaker: str, *, last_sentence: bool = False) -> str:
    """The split of a speaker; `last_sentence` marks the sentences of `SEEN_SPEAKER` that are kept for testing."""
    if speaker in TEST_SPEAKERS:
        return "test"
    if speaker in VALID_SPEAKERS:
        return "valid"
    return "test_seen" if speaker == SEEN_SPEAKER and last_sentence else "train"


def list_recordings(package: str, folder: Path) -> Iterator[Recording]:
    """The recordings of an unpacked package, in the order of their paths."""
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
        path = file.relative_to(folder).as_posix()
        if speaker := speaker_of(package, path):
            yield Recording(speaker=speaker, package=package, path=path, file=file)


def build_speech(
    out: Path, *, cache: Path, workers: int = 2, offline: bool = False, strict: bool = True, progress: bool = False
) -> Path:
    """Build `out/speech/{train,valid,test,test_seen}/<speaker>/<id>.flac` with its manifest; returns the folder."""
    folders = unpack_all(PACKAGES, cache, offline=offline, strict=strict, progress=progress)
    recordings = [recording for name, folder in folders.items() for recording in list_recordings(name, folder)]
    kept = {r.path for r in [r for r in recordings if r.speaker == SEEN_SPEAKER][-SEEN_SENTENCES:]}
    jobs = [(r, split_of(r.speaker, last_sentence=r.path in kept)) for r in recordings]
    with whole_folder(out / "speech") as part:
        found: list[dict[str, str]] = []
        with ProcessPoolExecutor(workers, initializer=use_one_thread) as pool, Bar(len(jobs), "clips", show=progress) as bar:
            for row in pool.map(partial(_convert, part, ClipRules()), jobs, chunksize=32):
                found += [row] if row is not None else []
                bar.step()
        rows = _without_copies(found, part)
        write_rows(part / MANIFEST, COLUMNS, rows)
        _write_transcripts(part / "transcripts.tsv", folders[SEEN_SPEAKER], rows)
        write_test_list(part, rows, TEST_SPEAKERS)
    return out / "speech"


def _convert(out: Path, rules: ClipRules, job: tuple[Recording, str]) -> dict[str, str] | None:
    """Clean one recording and write it; its manifest row, or None where nothing is left of it."""
    recording, split = job
    try:
        samples, rate_hz = decode(recording.file)
    except ClipError as error:
        print(f"left out: {error}", flush=True)
        return None
    clip = clean(samples, rate_hz, rules)
    if clip is None:
        return None
    write_flac(out / split / recording.speaker / f"{recording.id}.flac", clip, rules.sample_rate_hz)
    return {
        "id": recording.id,
        "speaker": recording.speaker,
        "package": recording.package,
        "path": recording.path,
        "seconds": f"{len(clip) / rules.sample_rate_hz:.3f}",
        "sha256": sha256_of(recording.file),
        "split": split,
    }


def _without_copies(rows: list[dict[str, str]], out: Path) -> list[dict[str, str]]:
    """Rows without the second and later copies of the same file; the clips of those are deleted."""
    seen: set[str] = set()
    ids: dict[tuple[str, str], str] = {}
    unique = []
    for row in rows:
        key = (row["speaker"], row["id"])
        if key in ids:
            raise ValueError(f"{row['path']} and {ids[key]} would both become {'/'.join(key)}")
        ids[key] = row["path"]
        if row["sha256"] in seen:
            (out / row["split"] / row["speaker"] / f"{row['id']}.flac").unlink()
        else:
            seen.add(row["sha256"])
            unique.append(row)
    return unique


def _write_transcripts(path: Path, folder: Path, rows: list[dict[str, str]]) -> None:
    """Write `id`, `split` and `text` of the sentences of `SEEN_SPEAKER`; the source has lines like `( name "text" )`."""
    (source,) = folder.rglob("txt.done.data")
    text = dict(re.findall(r'\(\s*(\S+)\s+"(.*)"\s*\)', source.read_text(encoding="utf-8", errors="replace")))
    spoken = [row for row in rows if row["speaker"] == SEEN_SPEAKER]
    table = [{"id": row["id"], "split": row["split"], "text": text.get(Path(row["path"]).stem, "")} for row in spoken]
    write_rows(path, ("id", "split", "text"), table)
