"""Logging of a run: `metrics.jsonl`, TensorBoard, and a progress bar or plain lines on stderr."""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..codecs.files import write_text


class RunLog:
    """Metrics and progress of one run; silent where `active` is False (all processes but the first).

    Args:
        out: folder of the run.
        start: first step of this session; later lines of an earlier session that was cut off are dropped.
        steps: last step of the run.
        seconds: time in seconds that earlier sessions took.
        tensorboard: also write event files.
        active: False does nothing.
    """

    def __init__(
        self,
        out: Path,
        *,
        start: int,
        steps: int,
        seconds: float = 0.0,
        tensorboard: bool = True,
        active: bool = True,
    ) -> None:
        self.active, self.steps, self.start, self._before = active, steps, start, seconds
        self._began = time.monotonic()
        self._bar: Any = None
        self._writer: Any = None
        if not active:
            return
        path = out / "metrics.jsonl"
        _drop_after(path, start)
        self._lines = path.open("a")
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(out / "tensorboard"), purge_step=start + 1 if start else None)
        if sys.stderr.isatty():
            self._bar = _progress_bar()
            self._task = self._bar.add_task("train", total=steps, completed=start, note="")

    def seconds(self) -> float:
        """Time in seconds that the run took so far, over all sessions."""
        return self._before + time.monotonic() - self._began

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Record scalars of a step (the number of finished updates)."""
        if not self.active:
            return
        record = {"step": step, "seconds": round(self.seconds(), 3)}
        self._lines.write(json.dumps(record | {k: float(v) for k, v in values.items()}) + "\n")
        self._lines.flush()
        if self._writer:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

    def media(self, step: int, shown: Mapping[str, Any]) -> None:
        """Send previews, as `Preview.write` returned them, to TensorBoard."""
        if not self._writer:
            return
        for name, (kind, data, *rest) in shown.items():
            if kind == "image":
                self._writer.add_image(f"preview/{name}", data, step, dataformats="HWC")
            else:
                self._writer.add_audio(f"preview/{name}", np.asarray(data)[None], step, sample_rate=rest[0])

    def advance(self, step: int) -> None:
        """Move the progress bar to `step` finished updates."""
        if self._bar is not None:
            self._bar.update(self._task, completed=step)

    def summary(self, step: int, values: Mapping[str, float]) -> None:
        """Show a line of figures: beside the bar, or as plain text with rate and time left."""
        if not self.active:
            return
        text = "  ".join(f"{k} {v:.4g}" for k, v in values.items())
        if self._bar is not None:
            self._bar.update(self._task, note=text)
            return
        pace = (step - self.start) / max(1e-9, time.monotonic() - self._began)
        left = (self.steps - step) / max(1e-9, pace)
        self.say(f"step {step}/{self.steps}  {pace:.2f} steps/s  {_clock(left)} left  {text}")

    def say(self, text: str) -> None:
        """Print a line of text above the progress bar."""
        if not self.active:
            return
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Flush all writers and stop the progress bar."""
        if not self.active:
            return
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if self._writer:
            self._writer.close()
        self._lines.close()


def _progress_bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Any) -> Text:
            return Text("-- steps/s" if task.speed is None else f"{task.speed:.2f} steps/s")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    bar = Progress(*columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True), speed_estimate_period=120)
    bar.start()
    return bar


def _drop_after(path: Path, step: int) -> None:
    """Keep only lines up to `step`: the run resumes there, and curves must not go back."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError):
            continue  # the last line of a killed run may be cut short
    write_text(path, "".join(kept))  # atomically: on a full disk the old lines must stay


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
