"""What the page shows of one tokenizer, as HTML with all pictures and sounds inside; text from outside is escaped."""

from html import escape

import torch
from PIL import Image
from torch import Tensor

from ...codecs.summary import facts
from ...codecs.tokenizer import Tokenizer
from .coded import Coded, Edit, Look, log_mel, meaning, quality
from .shapes import difference, heat, image_uri, panels, picture, sound_uri, spectrogram

#: Size of a spectrogram in pixels.
_SPECTRUM = (720, 180)
_TOKENS = "tokens, coloured by id; click on one to edit it"

STYLE = """
.sheet h3 { margin: 0 0 2px; font-size: 1.15rem } .sheet .facts { color: #667085; font-size: .86rem; margin: 0 0 10px }
.sheet .numbers { display: flex; flex-wrap: wrap; gap: 8px; margin: 0 0 12px }
.sheet .numbers div { background: #f2f4f7; border-radius: 8px; padding: 6px 12px; color: #667085; font-size: .78rem }
.sheet .numbers b { display: block; color: #101828; font-size: 1.02rem; font-variant-numeric: tabular-nums }
.sheet .figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(240px, 1fr)); gap: 12px }
.sheet .wide { grid-template-columns: 1fr } .sheet figure { margin: 0 }
.sheet figcaption { font-size: .8rem; color: #667085; margin-top: 3px }
.sheet img { width: 100%; display: block; border-radius: 6px } .sheet img.spectrum { height: 110px }
.sheet audio { width: 100%; height: 36px; margin-top: 6px }
.sheet .grids { display: grid; grid-template-columns: repeat(auto-fill, minmax(88px, 1fr)); gap: 6px }
.sheet .grids.books { grid-template-columns: 1fr } .sheet .grids.books img { height: 112px }
.sheet .grids img { image-rendering: pixelated; border-radius: 3px; cursor: crosshair }
.sheet .grids figcaption { margin: 0; font-size: .72rem }
.sheet h4 { margin: 14px 0 4px; font-size: .92rem }
.level-with-fields { align-self: end; margin-bottom: 11px }
.notice { padding: 9px 14px; border-radius: 8px; background: #eff4ff; color: #1d3b8b }
.notice.bad { background: #fef3f2; color: #912018 }
.dark .sheet .numbers div { background: #1f242f } .dark .sheet .numbers b { color: #f2f4f7 }
"""


def sheet(name: str, tokenizer: Tokenizer, coded: Coded, seen: Look, *, mark: tuple[int, int] | None = None) -> str:
    """Original, reconstruction, difference, figures and token grids of one decoding.

    Args:
        name: that the tokenizer was picked by.
        tokenizer, coded, seen: what `encode` and `look` were called with, and what they returned.
        mark: (codebook, position) of the token to mark in the grids.
    """
    grids = _grids(seen, coded.medium.kind, mark)
    if coded.medium.kind == "audio":
        shown = f'<div class="figures">{_of_sound(seen)}</div><h4>{_TOKENS}</h4>{grids}'
    else:
        shown = f'<div class="figures">{_of_picture(seen)}<div>{grids}<figcaption>{_TOKENS}</figcaption></div></div>'
    about = ", ".join(f"{key}: {value}" for key, value in facts(tokenizer.spec).items() if key != "float values")
    return (
        f'<div class="sheet"><h3>{escape(name)}</h3><p class="facts">{escape(about)}</p>'
        f"{_numbers(coded, seen)}{shown}</div>"
    )


def comparison(before: Look, after: Look, edit: Edit) -> str:
    """What one changed id did to the decoded medium."""
    old = int(before.tokens.ids[0, edit.codebook, edit.position])
    head = f"Codebook {edit.codebook}, position {edit.position}: {old} became {edit.new_id}."
    text = f'<p class="facts" data-role="meaning">{escape(head)} {escape(meaning(before, after))}</p>'
    if before.decoded is None or after.decoded is None:
        return f'<div class="sheet">{text}</div>'
    if not after.rate_hz:
        pictures = _figure(picture(after.decoded), "after the change")
        pictures += _figure(difference(before.decoded, after.decoded), "what changed, 4 times as bright")
        return f'<div class="sheet">{text}<div class="figures">{pictures}</div></div>'
    mel, change = log_mel(after.decoded, after.rate_hz), _change(before.decoded, after.decoded, after.rate_hz)
    player = _player(after.decoded, after.rate_hz)
    shown = _figure(spectrogram(mel, float(mel.max()), _SPECTRUM), "after the change", "spectrum", player)
    shown += _figure(change, "what changed", "spectrum")
    return f'<div class="sheet">{text}<div class="figures wide">{shown}</div></div>'


def notice(text: str, *, bad: bool = False) -> str:
    """A message to the visitor; "" for no text."""
    return f'<div class="notice{" bad" if bad else ""}" role="status">{escape(text)}</div>' if text else ""


# --- parts ----------------------------------------------------------------------------------------------------------------


def _numbers(coded: Coded, seen: Look) -> str:
    bits = seen.bits
    cells = {"tokens": f"{sum(map(sum, seen.tokens.counts())):,}", "bits": f"{bits:,}"}
    if coded.medium.kind == "image":
        cells["bits a pixel"] = f"{bits / (seen.original.shape[1] * seen.original.shape[2]):.3f}"
    else:
        cells["kbit/s"] = f"{bits / 1000 / (seen.original.shape[1] / seen.rate_hz):.2f}"
    cells["ratio to 8-bit pixels" if coded.medium.kind == "image" else "ratio to 16-bit samples"] = f"{seen.raw_bits / bits:.0f} : 1"
    what, _, value = quality(seen).rpartition(" ") if coded.medium.kind == "audio" else quality(seen).partition(" ")
    if value:
        cells[what] = value
    cells["encode + decode"] = f"{coded.seconds + seen.seconds:.2f} s"
    return '<div class="numbers">' + "".join(f"<div><b>{v}</b>{k}</div>" for k, v in cells.items()) + "</div>"


def _of_picture(seen: Look) -> str:
    original = _figure(picture(seen.original), "original")
    if seen.decoded is None:
        return original
    decoded = _figure(picture(seen.decoded), "decoded from the tokens", "decoded")
    apart = _figure(difference(seen.original, seen.decoded), "difference, 4 times as bright")
    return original + decoded + apart


def _of_sound(seen: Look) -> str:
    mel = log_mel(seen.original, seen.rate_hz)
    top, note = float(mel.max()), f"0 to {seen.original.shape[1] / seen.rate_hz:.1f} s, 0 to {seen.rate_hz / 2000:g} kHz (mel)"
    player = _player(seen.original, seen.rate_hz)
    shown = _figure(spectrogram(mel, top, _SPECTRUM), f"original: {note}", "spectrum", player)
    if seen.decoded is not None:
        decoded = log_mel(seen.decoded, seen.rate_hz)
        player = _player(seen.decoded, seen.rate_hz)
        shown += _figure(spectrogram(decoded, top, _SPECTRUM), "decoded from the tokens", "spectrum", player)
        shown += _figure(_change(seen.original, seen.decoded, seen.rate_hz), "difference of the two spectra", "spectrum")
    return shown


def _change(a: Tensor, b: Tensor, rate_hz: int) -> Image.Image:
    """Picture of the difference of two log mel spectra; the brightest colour is a factor of e^3, 26 dB."""
    x, y = log_mel(a, rate_hz), log_mel(b, rate_hz)
    floor = torch.maximum(x, y).max() - 9  # what lies below is too faint to show
    apart = (x.clamp(min=floor) - y.clamp(min=floor)).abs()
    return heat(apart.flip(0) / 3).resize(_SPECTRUM)


def _grids(seen: Look, kind: str, mark: tuple[int, int] | None) -> str:
    found = panels(seen.tokens, kind)
    books = bool(found) and found[0].books
    shown = ""
    for panel in found:
        rows, columns = panel.ids.shape
        book = -1 if panel.books else panel.codebook
        data = f'data-first="{panel.first}" data-book="{book}" data-rows="{rows}" data-columns="{columns}"'
        uri = image_uri(panel.image(mark))
        shown += f'<figure><img class="tokens" alt="" {data} src="{uri}"><figcaption>{escape(panel.title)}</figcaption></figure>'
    return f'<div class="grids{" books" if books else ""}">{shown}</div>'


def _figure(image: Image.Image, caption: str, kind: str = "", more: str = "") -> str:
    """A picture with a caption; `kind` is its class, `more` what stands between the two."""
    picture_tag = f'<img class="{kind}" alt="{caption}" src="{image_uri(image)}">'
    return f"<figure>{picture_tag}{more}<figcaption>{caption}</figcaption></figure>"


def _player(samples: Tensor, rate_hz: int) -> str:
    return f'<audio controls preload="auto" src="{sound_uri(samples, rate_hz)}"></audio>'


#: Passes a click on a token grid on to the page, as (codebook, position).
ON_CLICK = """
element.addEventListener('click', event => {
  const grid = event.target.closest('img.tokens');
  if (!grid) return;
  const box = grid.getBoundingClientRect(), d = grid.dataset;
  const part = (at, size, count) => Math.min(count - 1, Math.max(0, Math.floor(at / size * count)));
  const row = part(event.clientY - box.top, box.height, +d.rows), column = part(event.clientX - box.left, box.width, +d.columns);
  const whole = +d.book < 0;
  trigger('click', {codebook: whole ? row : +d.book, position: whole ? column : +d.first + row * +d.columns + column});
});
"""
