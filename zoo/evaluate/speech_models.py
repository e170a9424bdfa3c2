"""Metrics of speech by networks that optional packages hold: predicted MOS, similarity of speakers, words that were lost.

    evaluate(tokenizer, "clips", extra=("distillmos", "speaker", "dwer"))

- "distillmos": DistillMOS (arXiv 2502.05356), a predictor of the mean opinion score of the reconstruction alone; package `distillmos`.
- "speaker": cosine of the speaker embeddings (Wan et al. 2018, arXiv 1710.10467) of original and reconstruction, by the weights that
  the package `resemblyzer` holds; only its file is read. Not the WavLM similarity of most papers: its values are higher.
- "dwer": word error rate of what a Whisper model reads from the reconstruction against what it reads from the original; package
  `faster_whisper`, and the folder of a converted model in the environment variable `TOKENZOO_WHISPER`; nothing is downloaded.

A package or a file that is missing is a note in the report, never a failure. All of them take mono `[T]` at 16 kHz.
"""

import importlib.util
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torchaudio
from torch import Tensor, nn

from ...codecs.config import ConfigError, nearest
from ...train.figures.base import Unfit
from ...train.figures.speech import RATE_HZ

#: Judge of an original and its reconstruction, `[T]` each.
Judge = Callable[[Tensor, Tensor], float]
WHISPER = "TOKENZOO_WHISPER"
#: Frames of 10 ms that an embedding is of, frames from one to the next, and share of the last one that must be there.
FRAMES, STEP, LEAST_SHARE = 160, 77, 0.75
#: Level to which quieter clips are amplified before the speaker is judged, in dB below full scale.
LEVEL_DB = -30.0


class Missing(Exception):
    """A package or a file that a metric needs is not there; the message says what to do."""


def judges(names: Sequence[str]) -> tuple[dict[str, Judge], list[str]]:
    """The metrics of these names, by their names in reports, and notes about those that cannot be computed here.

    Raises:
        ConfigError: an unknown name.
    """
    found: dict[str, Judge] = {}
    notes: list[str] = []
    for name in dict.fromkeys(names):
        if name not in EXTRA:
            raise ConfigError(f"no metric is called {name!r:.80}.{nearest(name, list(EXTRA))}")
        shown, build = EXTRA[name]
        try:
            found[shown] = build()
        except Missing as error:
            notes.append(f"no {shown}: {error}")
        except Exception as error:  # of a package that is there but does not work
            notes.append(f"no {shown}: {type(error).__name__}: {error}")
    return found, notes


def _distillmos() -> Judge:
    if importlib.util.find_spec("distillmos") is None:
        raise Missing("the package distillmos is not installed; pip install distillmos")
    import contextlib
    import io

    distillmos: Any = importlib.import_module("distillmos")
    with contextlib.redirect_stdout(io.StringIO()):  # it prints where its weights are
        model = distillmos.ConvTransformerSQAModel().eval()

    @torch.no_grad()
    def judge(_: Tensor, y: Tensor) -> float:
        return float(model(y[None]).mean())

    return judge


# --- speakers -----------------------------------------------------------------------------------------------------------


class SpeakerNet(nn.Module):
    """Three LSTM layers over mel frames, the last state through a linear layer: mel `[B, FRAMES, 40]` -> unit vectors `[B, 256]`."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(40, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)
        self.mel = torchaudio.transforms.MelSpectrogram(
            RATE_HZ, n_fft=RATE_HZ // 40, hop_length=RATE_HZ // 100, n_mels=40, norm="slaney", mel_scale="slaney", pad_mode="constant"
        )

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """The voice of a clip `[T]`: the mean of the embeddings of overlapping pieces, of unit length `[256]`."""
        if not x.any():
            raise Unfit("silent")
        level = 20 * x.square().mean().sqrt().log10()
        x = x * 10 ** (max(0.0, LEVEL_DB - float(level)) / 20)
        least = FRAMES * RATE_HZ // 100
        frames = self.mel(nn.functional.pad(x, (0, max(0, least - len(x))))).T  # [N, 40]
        starts = [s for s in range(0, len(frames), STEP) if s == 0 or len(frames) - s >= LEAST_SHARE * FRAMES]
        pieces = [nn.functional.pad(frames[s : s + FRAMES], (0, 0, 0, max(0, s + FRAMES - len(frames)))) for s in starts]
        _, (hidden, _) = self.lstm(torch.stack(pieces))
        each = nn.functional.normalize(self.linear(hidden[-1]).relu(), dim=-1)
        return nn.functional.normalize(each.mean(0), dim=-1)


def _speaker() -> Judge:
    spec = importlib.util.find_spec("resemblyzer")
    places = [Path(p) / "pretrained.pt" for p in (spec.submodule_search_locations or ())] if spec else []
    path = next((p for p in places if p.is_file()), None)
    if path is None:
        raise Missing("the package resemblyzer is not installed; pip install --no-deps resemblyzer")
    state = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
    model = SpeakerNet()
    model.load_state_dict(
        {n: v for n, v in state.items() if n.startswith(("lstm.", "linear."))}
        | {n: v for n, v in model.state_dict().items() if n.startswith("mel.")}
    )
    model.eval()
    return lambda x, y: float(model(x) @ model(y))


# --- words --------------------------------------------------------------------------------------------------------------


def _words_lost() -> Judge:
    if importlib.util.find_spec("faster_whisper") is None:
        raise Missing("the package faster-whisper is not installed; pip install faster-whisper")
    folder = Path(os.environ.get(WHISPER, ""))
    if not os.environ.get(WHISPER) or not (folder / "model.bin").is_file():
        raise Missing(f"the environment variable {WHISPER} names no folder with a converted Whisper model (model.bin)")
    faster_whisper: Any = importlib.import_module("faster_whisper")
    model = faster_whisper.WhisperModel(str(folder), device="cpu", compute_type="int8", local_files_only=True)

    def read(x: Tensor) -> list[str]:
        segments, _ = model.transcribe(x.numpy(), beam_size=1, temperature=0.0, condition_on_previous_text=False)
        return words(" ".join(s.text for s in segments))

    def judge(x: Tensor, y: Tensor) -> float:
        wanted = read(x)
        if not wanted:
            raise Unfit("without words")
        return word_errors(wanted, read(y)) / len(wanted)

    return judge


def words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower())


def word_errors(wanted: Sequence[str], found: Sequence[str]) -> int:
    """Least number of insertions, deletions and replacements that turn one list of words into the other."""
    row = list(range(len(found) + 1))
    for i, word in enumerate(wanted, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(found, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]


#: Name of a metric -> its name in reports, and what builds its judge.
EXTRA: dict[str, tuple[str, Callable[[], Judge]]] = {
    "distillmos": ("DistillMOS", _distillmos),
    "speaker": ("speaker similarity (Resemblyzer)", _speaker),
    "dwer": ("dWER (Whisper)", _words_lost),
}
