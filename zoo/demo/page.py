"""The page of `tokenzoo demo --serve`, made of Gradio's components. What is computed and shown: `coded.py`, `sheet.py`."""

import logging
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from .coded import Coded, Edit, check_kind, encode, look
from .medium import LIMITS, Kind, Limits, Medium, read_medium
from .pool import Pool, shipped
from .sheet import ON_CLICK, comparison, notice, sheet

NONE = "none"
#: Button -> the shipped medium that it stands for.
EXAMPLES = {"Use the photograph": "chelsea.png", "Use the sentence": "speech.flac"}
_LOG = logging.getLogger(__name__)
#: One computation at a time, whoever asks: the processor is shared.
_QUEUE: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "model", "api_visibility": "private"}


def explain(error: Exception) -> str:
    """An error as one plain line for the visitor."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"this needs the package {error.name}, which is not installed here."
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error).strip()
    known = isinstance(error, (ValueError, KeyError, OSError)) and text
    return text if known else f"this did not work ({type(error).__name__}: {text.splitlines()[0] if text else 'no reason given':.200})."


class Side:
    """One tokenizer's column: its components, and what happens to them.

    Args:
        pool: loads the tokenizers.
        key: "a" or "b", part of the components' ids.
    """

    def __init__(self, pool: Pool, key: str) -> None:
        import gradio as gr

        self.gr, self.pool = gr, pool
        self.coded, self.edits = (gr.State(value, time_to_live=3600) for value in (None, ()))
        with gr.Column(elem_id=f"side-{key}", visible=key == "a", min_width=420) as self.column:
            with gr.Row():
                self.books = gr.Slider(1, 8, value=8, step=1, label="codebooks", elem_id=f"codebooks-{key}")
                self.positions = gr.Slider(1, 8, value=8, step=1, label="positions", elem_id=f"positions-{key}")
            self.sheet = gr.HTML(elem_id=f"sheet-{key}", js_on_load=ON_CLICK)
            with gr.Accordion("Edit a token", open=True, elem_id=f"edit-{key}"):
                with gr.Row():
                    self.book = gr.Number(0, label="codebook", precision=0, min_width=80, elem_id=f"book-{key}")
                    self.position = gr.Number(0, label="position", precision=0, min_width=80, elem_id=f"position-{key}")
                    self.id = gr.Number(0, label="new id", precision=0, min_width=80, elem_id=f"id-{key}")
                    level: dict[str, Any] = {"min_width": 80, "elem_classes": "level-with-fields"}
                    self.change = gr.Button("Change", variant="primary", elem_id=f"change-{key}", **level)
                    self.undo = gr.Button("Undo all", elem_id=f"undo-{key}", **level)
                self.changed = gr.HTML(elem_id=f"changed-{key}")
        self.outputs = [self.coded, self.edits, self.column, self.books, self.positions, self.sheet, self.book, self.position, self.id]
        self.outputs.append(self.changed)

    def bind(self, picked: Any, medium: Any, message: Any) -> None:
        """Connect the components; `picked` is the list of tokenizers, `medium` the state, `message` the line for messages."""
        seen = [picked, self.coded, self.books, self.positions, self.edits]
        picked.input(_plainly(self.open, len(self.outputs)), [picked, medium], [*self.outputs, message], **_QUEUE)
        for slider in (self.books, self.positions):
            latest = {**_QUEUE, "trigger_mode": "always_last", "show_progress": "hidden"}
            slider.input(_plainly(self.cut, 2), seen, [self.sheet, self.changed, message], **latest)
        what = [*seen, self.book, self.position, self.id]
        self.change.click(_plainly(self.edit, 3), what, [self.edits, self.sheet, self.changed, message], **_QUEUE)
        self.undo.click(_plainly(self.reset, 3), seen, [self.edits, self.sheet, self.changed, message], **_QUEUE)

        from gradio import EventData

        def point(coded: Coded | None, edits: Sequence[Edit], event: EventData) -> Any:
            return _plainly(self.point, 3)(coded, edits, event._data)

        place = [self.book, self.position, self.id, message]
        self.sheet.click(point, [self.coded, self.edits], place, show_progress="hidden", api_visibility="private")

    def open(self, name: str, medium: Medium | None) -> list[Any]:
        """Encode the medium with the picked tokenizer, and show all of it."""
        gr = self.gr
        if name == NONE or medium is None:
            return [None, (), gr.update(visible=False), *[gr.skip()] * 6, ""]
        tokenizer = self.pool.get(name)
        check_kind(tokenizer, name, medium)
        coded = encode(tokenizer, medium)
        shown = sheet(name, tokenizer, coded, look(tokenizer, coded))
        ids, sliders = coded.tokens.ids, []
        for axis, most in (("codebooks", ids.shape[1]), ("positions", ids.shape[2])):
            cuts = axis in tokenizer.spec.prefix and most > 1 and tokenizer.spec.decodes
            label = f"{axis}: the first of {most}"
            sliders.append(gr.update(maximum=max(most, 2), value=most, visible=cuts, label=label))
        return [coded, (), gr.update(visible=True), *sliders, shown, 0, 0, int(ids[0, 0, 0]), ""]

    def cut(self, name: str, coded: Coded | None, books: int, positions: int, edits: Sequence[Edit]) -> list[Any]:
        """Show the first codebooks and positions."""
        tokenizer, coded = self._ready(name, coded)
        seen = look(tokenizer, coded, **self._cuts(tokenizer, books, positions), edits=edits)
        return [sheet(name, tokenizer, coded, seen, mark=_mark(edits)), ""]

    def edit(
        self, name: str, coded: Coded | None, books: int, positions: int, edits: Sequence[Edit], book: Any, position: Any, new_id: Any
    ) -> list[Any]:
        """Replace one id, and show what it meant."""
        tokenizer, coded = self._ready(name, coded)
        if None in (book, position, new_id):
            raise ValueError("codebook, position and new id must be given as whole numbers.")
        edit, cuts = Edit(int(book), int(position), int(new_id)), self._cuts(tokenizer, books, positions)
        after = look(tokenizer, coded, **cuts, edits=[*edits, edit])
        before = look(tokenizer, coded, **cuts, edits=edits)
        if edit.codebook >= after.tokens.num_codebooks or edit.position >= after.tokens.ids.shape[2]:
            raise ValueError("this token is not among those that the sliders keep; move them, or edit another token.")
        shown = sheet(name, tokenizer, coded, after, mark=(edit.codebook, edit.position))
        return [(*edits, edit), shown, comparison(before, after, edit)]

    def reset(self, name: str, coded: Coded | None, books: int, positions: int, edits: Sequence[Edit]) -> list[Any]:
        """Take all changes back."""
        return [(), *self.cut(name, coded, books, positions, ())]

    def point(self, coded: Coded | None, edits: Sequence[Edit], place: Any) -> list[Any]:
        """Fill in codebook, position and present id of the token that was clicked on."""
        from .coded import edited

        if coded is None or not isinstance(place, dict):
            return [self.gr.skip()] * 3
        book, position = int(place["codebook"]), int(place["position"])
        ids = edited(coded.tokens, edits).ids[0]
        if not (0 <= book < ids.shape[0] and 0 <= position < ids.shape[1]):
            return [self.gr.skip()] * 3
        return [book, position, int(ids[book, position])]

    def _ready(self, name: str, coded: Coded | None) -> tuple[Any, Coded]:
        if coded is None:
            raise ValueError("there is no picture or sound yet; drop one first.")
        return self.pool.get(name), coded

    def _cuts(self, tokenizer: Any, books: int, positions: int) -> dict[str, int]:
        given = {"codebooks": int(books), "positions": int(positions)}
        return {axis: value for axis, value in given.items() if axis in tokenizer.spec.prefix}


def _mark(edits: Sequence[Edit]) -> tuple[int, int] | None:
    return (edits[-1].codebook, edits[-1].position) if edits else None


def _plainly(work: Callable[..., list[Any]], count: int) -> Callable[..., list[Any]]:
    """`work` with a message as its last result, after `count` others: "", or an error in plain words with the others unchanged."""
    import gradio as gr

    def run(*given: Any) -> list[Any]:
        try:
            return [*work(*given), ""]
        except Exception as error:  # any error of one visitor's input; the page goes on
            _LOG.debug("failed", exc_info=True)
            return [*[gr.skip()] * count, notice(explain(error), bad=True)]

    return run


def build(pool: Pool, limits: Limits = LIMITS) -> Any:
    """The page as `gradio.Blocks`, not launched.

    Args:
        pool: the tokenizers to pick from.
        limits: of media.
    """
    import gradio as gr

    with gr.Blocks(title="tokenzoo", analytics_enabled=False, delete_cache=(600, 1800), fill_width=True) as page:
        medium = gr.State(None, time_to_live=3600)
        gr.HTML(_HEAD)
        with gr.Row(equal_height=True):
            with gr.Column(min_width=260):
                custom: dict[str, Any] = {"allow_custom_value": pool.anything, "interactive": True}
                first = gr.Dropdown(pool.names, value=shipped("image"), label="tokenizer", elem_id="pick-a", **custom)
                second = gr.Dropdown([NONE, *pool.names], value=NONE, label="beside it", elem_id="pick-b", **custom)
            with gr.Column(min_width=260):
                drop = gr.File(label=f"picture or sound, up to {limits.file_mb} MB", elem_id="drop", height=180)
            with gr.Column(min_width=260):
                label = f"or record up to {limits.seconds:g} s"
                record = gr.Audio(sources=["microphone"], type="filepath", label=label, elem_id="record", buttons=[])
            with gr.Column(min_width=160):
                buttons = {name: gr.Button(name, elem_id=f"example-{file.split('.')[0]}") for name, file in EXAMPLES.items()}
        message = gr.HTML(elem_id="message")
        with gr.Row():
            sides = [Side(pool, key) for key in ("a", "b")]
        sides[0].bind(first, medium, message)
        sides[1].bind(second, medium, message)
        outputs = [medium, first, second, *sides[0].outputs, *sides[1].outputs, message]

        def receive(path: Any, name: str, beside: str) -> list[Any]:
            if path is None:
                return [gr.skip()] * (len(outputs) - 1)
            return _received(read_medium(Path(path), limits), name, beside, pool, sides)

        guarded = _plainly(receive, len(outputs) - 1)

        def received(path: Any, name: str, beside: str) -> list[Any]:
            out = guarded(path, name, beside)
            if isinstance(out[0], Medium):
                out[-1] = notice(_news(out[0], name, out[1]))
            return out

        drop.upload(received, [drop, first, second], outputs, **_QUEUE)
        record.stop_recording(received, [record, first, second], outputs, **_QUEUE)
        for name, button in buttons.items():
            button.click(_of_example(received, EXAMPLES[name]), [first, second], outputs, **_QUEUE)
        page.load(_of_example(received, EXAMPLES["Use the photograph"]), [first, second], outputs, **_QUEUE)
    return page


def _received(medium: Medium, name: str, beside: str, pool: Pool, sides: list[Side]) -> list[Any]:
    """A new medium through both tokenizers; one that takes another kind makes place for the shipped one, or for none."""
    name = name if _fits(pool, name, medium.kind) else shipped(medium.kind)
    beside = beside if beside != NONE and _fits(pool, beside, medium.kind) else NONE
    return [medium, name, beside, *sides[0].open(name, medium), *sides[1].open(beside, medium)]


def _fits(pool: Pool, name: str, kind: Kind) -> bool:
    return bool(name) and pool.fits(name, kind)


def _news(medium: Medium, before: str, now: str) -> str:
    news = [medium.note] if medium.note else []
    if before != now:
        news.append(f"{before} takes another kind of media, so {now} is picked.")
    return " ".join(news)


def _of_example(received: Callable[..., list[Any]], file: str) -> Callable[[str, str], list[Any]]:
    def run(name: str, beside: str) -> list[Any]:
        with resources.as_file(resources.files(__spec__.parent).joinpath("media", file)) as path:
            return received(path, name, beside)

    return run


_HEAD = """<div><h1 style="font-size:1.5rem;font-weight:700;margin:4px 0 0">tokenzoo</h1>
<p style="color:#667085;margin:0">Pictures and sound as integers, and back.
Everything is computed on the machine that runs this page.</p></div>"""
