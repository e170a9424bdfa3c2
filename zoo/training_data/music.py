"""The music corpus: tracks and sounds of games and loops for live coding, out of Debian packages, 24 kHz mono.

Orchestra, rock, electronic music, guitars by themselves, effects. Of a track at most nine pieces of 20 s are kept, evenly spaced, so
that long tracks do not outweigh short ones; sounds are kept whole. The rank of its file's hash within its package assigns each track
to a split; one whole package is kept out of training (`test_ood`). `test_list.txt` names a piece of 10 s of each track of both.
"""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np

from ..progress import Bar
from .clips import ClipError, Waveform, resample, use_one_thread, write_flac
from .manifest import MANIFEST, safe_name, split_by_hash, whole_folder, write_rows
from .packages import unpack_all

RATE_HZ = 24_000
PIECE_SECONDS, MOST_PIECES = 20.0, 9
SHORTEST_SECONDS = 1.0
LISTED_SECONDS = 10.0  # shorter tracks and sounds are not in the test list
QUIETEST = 10 ** (-50 / 20)  # root mean square; full scale 1
PEAK = 0.98
VALID_SHARE, TEST_SHARE = 0.08, 0.12
OUT_OF_SOURCE = "singularity-music"
COLUMNS = ("id", "package", "path", "start", "seconds", "sha256", "split")
_ENDINGS = (".ogg", ".opus", ".flac", ".wav")

# Files of each package; of a `.pk3`, which is a zip archive, the sound files in it.
SOURCES: dict[str, tuple[str, ...]] = {
    OUT_OF_SOURCE: ("**/music/**/*",),
    "warzone2100-music": ("**/albums/**/*",),
    "wesnoth-1.16-music": ("**/core/music/*",),
    "nexuiz-music": ("**/*.pk3",),
    "marsshooter-data": ("**/audio/music/*", "**/audio/toon/*"),
    "colobot-common-sounds": ("**/music/*", "**/sounds/*"),
    "fretsonfire-songs-muldjord": ("**/songs/**/*",),
    "fretsonfire-songs-sectoid": ("**/songs/**/*",),
    "supertux-data": ("**/music/**/*", "**/sounds/*"),
    "hedgewars-data": ("**/Data/Music/*", "**/Data/Sounds/*"),
    "hyperrogue-music": ("**/music/*", "**/sounds/*"),
    "sonic-pi-samples": ("**/samples/*",),
}


@dataclass(frozen=True, kw_only=True)
class Track:
    """One sound file of a package; `member`: its name in a zip archive, or ""."""

    package: str
    path: str  # inside the package
    file: Path
    member: str = ""

    def data(self) -> bytes:
        """The bytes of the file."""
        if not self.member:
            return self.file.read_bytes()
        with zipfile.ZipFile(self.file) as archive:
            return archive.read(self.member)

    @property
    def inner_path(self) -> Path:
        """The path inside the archive or the package."""
        return Path(self.member or self.path)


def list_tracks(package: str, folder: Path) -> Iterator[Track]:
    """The tracks of an unpacked package, in the order of their paths."""
    found = {path for pattern in SOURCES[package] for path in folder.glob(pattern) if path.is_file() and not path.is_symlink()}
    for file in sorted(found):
        path = file.relative_to(folder).as_posix()
        if file.suffix == ".pk3":
            with zipfile.ZipFile(file) as archive:
                names = sorted(name for name in archive.namelist() if name.lower().endswith(_ENDINGS))
            yield from (Track(package=package, path=f"{path}:{name}", file=file, member=name) for name in names)
        elif file.suffix.lower() in _ENDINGS:
            yield Track(package=package, path=path, file=file)


def name_tracks(tracks: Iterable[Track]) -> dict[Track, str]:
    """Names `<package>/<folder>-<file>` without ending, but with it where two files of a folder differ in nothing else.

    Raises:
        ValueError: two tracks still have the same name.
    """
    short = {track: _name(track, track.inner_path.with_suffix("")) for track in tracks}
    often = Counter(short.values())
    names = {track: name if often[name] == 1 else _name(track, track.inner_path) for track, name in short.items()}
    if twice := sorted(name for name, count in Counter(names.values()).items() if count > 1):
        raise ValueError(f"several tracks would get the same name: {twice[:5]}")
    return names


def _name(track: Track, path: Path) -> str:
    return f"{track.package}/{safe_name('-'.join(path.parts[-2:]))}"


def starts(seconds: float) -> list[float]:
    """Where the pieces of a track of this length begin, in seconds: evenly spaced, one alone in the middle."""
    count = min(MOST_PIECES, max(1, int(seconds // PIECE_SECONDS)))
    spare = max(0.0, seconds - count * PIECE_SECONDS)
    return [spare / 2 if count == 1 else i * (PIECE_SECONDS + spare / (count - 1)) for i in range(count)]


def pieces(data: bytes, name: str) -> Iterator[tuple[float, Waveform]]:
    """Pieces of a sound file as `(start in seconds, [T] at RATE_HZ)`; too quiet or too short ones are left out.

    Raises:
        ClipError: the file is damaged or of an unknown format.
    """
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            rate = file.samplerate
            for start in starts(file.frames / rate):
                file.seek(int(start * rate))
                samples = file.read(int(PIECE_SECONDS * rate), dtype="float32", always_2d=True).mean(axis=1, dtype=np.float32)
                piece = resample(np.ascontiguousarray(samples), rate, RATE_HZ)
                if len(piece) >= SHORTEST_SECONDS * RATE_HZ and float(np.sqrt(np.mean(np.square(piece)))) >= QUIETEST:
                    yield start, _within_peak(piece)
    except (soundfile.LibsndfileError, OSError) as error:
        raise ClipError(f"{name}: {error}") from error


def _within_peak(samples: Waveform) -> Waveform:
    """The samples [T] as they are, or quieter where their peak is above `PEAK`."""
    peak = float(np.abs(samples).max())
    return samples if peak <= PEAK else (samples * (PEAK / peak)).astype(np.float32)


def build_music(
    out: Path, *, cache: Path, workers: int = 2, offline: bool = False, strict: bool = True, progress: bool = False
) -> Path:
    """Build `out/music/{train,valid,test,test_ood}/<package>/<track>-<n>.flac`, its manifest and test list; returns the folder."""
    folders = unpack_all(SOURCES, cache, offline=offline, strict=strict, progress=progress)
    tracks = [track for package, folder in folders.items() for track in list_tracks(package, folder)]
    hashes = {track: sha256(track.data()).hexdigest() for track in tracks}
    splits = split_tracks(hashes)
    with whole_folder(out / "music") as part:
        rows: list[dict[str, str]] = []
        jobs = [(track, name, hashes[track], splits[track]) for track, name in name_tracks(splits).items()]
        with ProcessPoolExecutor(workers, initializer=use_one_thread) as pool, Bar(len(jobs), "tracks", show=progress) as bar:
            for found in pool.map(partial(_convert, part), jobs, chunksize=4):
                rows += found
                bar.step()
        write_rows(part / MANIFEST, COLUMNS, rows)
        _write_test_list(part, rows)
    return out / "music"


def split_tracks(hashes: dict[Track, str]) -> dict[Track, str]:
    """The split of each track by the hashes of their files, without second copies; see the module's docstring."""
    splits: dict[Track, str] = {}
    seen: set[str] = set()
    for package in SOURCES:
        own = {}
        for track, value in hashes.items():
            if track.package == package and value not in seen:
                own[track] = value
                seen.add(value)
        by_hash = split_by_hash(own.values(), valid=VALID_SHARE, test=TEST_SHARE)
        splits |= {track: "test_ood" if package == OUT_OF_SOURCE else by_hash[value] for track, value in own.items()}
    return splits


def _convert(out: Path, job: tuple[Track, str, str, str]) -> list[dict[str, str]]:
    """Write the pieces of one track; their manifest rows."""
    track, track_name, value, split = job
    rows = []
    try:
        for number, (start, samples) in enumerate(pieces(track.data(), track.path)):
            name = f"{track_name}-{number}"
            write_flac(out / split / f"{name}.flac", samples, RATE_HZ)
            rows.append({
                "id": name, "package": track.package, "path": track.path, "start": f"{start:.3f}",
                "seconds": f"{len(samples) / RATE_HZ:.3f}", "sha256": value, "split": split,
            })  # fmt: skip
    except ClipError as error:
        print(f"left out: {error}", flush=True)
    return rows


def _write_test_list(corpus: Path, rows: list[dict[str, str]]) -> None:
    """Write `test_list/<package>-<track>.flac`, 10 s out of the middle piece of each track of both test splits, and `test_list.txt`."""
    import soundfile

    of_track: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in rows:
        if row["split"] in ("test", "test_ood") and float(row["seconds"]) >= LISTED_SECONDS:
            of_track.setdefault((row["package"], row["path"]), []).append(row)
    listed = []
    for group in of_track.values():
        row = group[len(group) // 2]
        samples = np.asarray(soundfile.read(corpus / row["split"] / f"{row['id']}.flac")[0], np.float32)
        spare = (len(samples) - int(LISTED_SECONDS * RATE_HZ)) // 2
        name = f"test_list/{safe_name(row['id'])}.flac"
        write_flac(corpus / name, samples[spare : spare + int(LISTED_SECONDS * RATE_HZ)], RATE_HZ)
        listed.append(name)
    (corpus / "test_list.txt").write_text("".join(f"{name}\n" for name in sorted(listed)), encoding="utf-8")
