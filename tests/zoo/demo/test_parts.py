"""What the page of `tokenzoo demo --serve` computes and shows, without a browser. Run: pytest tests/zoo/demo/test_parts.py"""

import re

import numpy as np
import pytest
import soundfile
import tokenzoo
import torch
from cli_runs import run
from families import TINY
from PIL import Image
from tokenzoo.codecs.media import MediaError
from tokenzoo.zoo.demo.coded import Edit, check_kind, edited, encode, look, meaning, psnr, quality
from tokenzoo.zoo.demo.medium import Limits, Medium, read_medium
from tokenzoo.zoo.demo.pool import Pool
from tokenzoo.zoo.demo.shapes import id_colours, panels
from tokenzoo.zoo.demo.sheet import comparison, notice, sheet

SMALL = Limits(file_mb=1, pixels=20_000, side=100, seconds=0.5)


def tiny(label: str) -> tokenzoo.Tokenizer:
    torch.manual_seed(0)
    return tokenzoo.build_tokenizer(*TINY[label]).eval()


def photo(height: int = 40, width: int = 56) -> Medium:
    g = torch.Generator().manual_seed(0)
    return Medium("image", "p.png", torch.randint(0, 256, (3, height, width), generator=g, dtype=torch.uint8))


def sound(samples: int = 4000, channels: int = 1) -> Medium:
    return Medium("audio", "s.wav", torch.randn(channels, samples, generator=torch.Generator().manual_seed(0)) * 0.1, 16000)


# --- what comes in ------------------------------------------------------------------------------------------------------


def test_media_within_the_limits_are_read_as_they_are(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (30, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.PNG")
    got = read_medium(tmp_path / "a.PNG", SMALL)
    assert (got.kind, got.name, got.note) == ("image", "a.PNG", "")
    assert np.array_equal(got.data.permute(1, 2, 0).numpy(), pixels)
    wave = (np.random.default_rng(0).normal(size=(3000, 2)) * 0.1).astype(np.float32)
    soundfile.write(tmp_path / "b.wav", wave, 8000, subtype="FLOAT")
    got = read_medium(tmp_path / "b.wav", SMALL)
    assert (got.kind, got.rate_hz, got.note) == ("audio", 8000, "")
    assert np.array_equal(got.data.T.numpy(), wave)


def test_what_is_too_large_is_cut_and_says_so(tmp_path):
    Image.new("RGB", (150, 75), "red").save(tmp_path / "a.png")
    got = read_medium(tmp_path / "a.png", SMALL)
    assert tuple(got.data.shape) == (3, 50, 100)
    assert "from 150 x 75 to 100 x 50" in got.note and "is 100" in got.note
    soundfile.write(tmp_path / "b.flac", np.arange(8000) / 16000, 8000)
    got = read_medium(tmp_path / "b.flac", SMALL)
    assert got.data.shape == (1, 4000) and torch.allclose(got.data[0, :9] * 16000, torch.arange(9.0), atol=1)
    assert "has 1.0 s; the first 0.5 s are used" in got.note


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("big.wav", b"x" * 1_000_001, "has 1 MB; files up to 1 MB"),
        ("notes.txt", b"hello", "ends in '.txt'; pictures (png, "),
        ("film.avi", b"hello", "is a film; pictures"),
        ("nothing", b"hello", "without an ending"),
        ("broken.png", b"\x89PNG\r\n\x1a\nhello", "cannot read broken.png"),
        ("broken.wav", b"RIFFhello", "broken.wav"),
        ("empty.jpg", b"", "empty.jpg"),
    ],
)
def test_what_cannot_be_read_is_named_in_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MediaError, match=re.escape(message)) as caught:
        read_medium(tmp_path / name, SMALL)
    assert str(tmp_path) not in str(caught.value), "a visitor need not know this machine's folders"


def test_a_picture_of_too_many_pixels_is_refused(tmp_path):
    Image.new("L", (400, 400)).save(tmp_path / "a.png")
    with pytest.raises(MediaError, match="at most 20000"):
        read_medium(tmp_path / "a.png", SMALL)


# --- what is computed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label, medium", [("convnet", photo()), ("spectral", sound())])
def test_a_look_is_what_decode_gives(label, medium):
    tokenizer = tiny(label)
    coded = encode(tokenizer, medium)
    for codebooks in (None, 1):
        seen = look(tokenizer, coded, codebooks=codebooks)
        want = tokenizer.decode(coded.tokens.first(codebooks=codebooks))[0]
        want = want if medium.kind == "audio" else tokenizer.to_uint8(want)
        assert torch.equal(seen.decoded, want)
        assert torch.equal(seen.original, medium.data)
        assert seen.bits == sum(coded.tokens.first(codebooks=codebooks).bits())
        assert seen.raw_bits == medium.data.numel() * (8 if medium.kind == "image" else 16)
        assert re.fullmatch(r"(PSNR [\d.]+ dB|mel distance [\d.]+)", quality(seen))


def test_the_part_of_a_picture_that_was_kept_is_its_original():
    tokenizer = tiny("titok-legacy-prefix")
    coded = encode(tokenizer, photo(40, 56))
    seen = look(tokenizer, coded, positions=2)
    assert seen.tokens.ids.shape[-1] == 2
    assert torch.equal(seen.original, photo(40, 56).data[:, :, 8:48]), "the middle square"
    assert seen.decoded.shape == seen.original.shape
    assert psnr(seen.original, seen.original) == float("inf")


def test_a_tokenizer_without_a_decoder_shows_its_tokens():
    tokenizer = tiny("fdt-clip")
    seen = look(tokenizer, encode(tokenizer, photo()))
    assert seen.decoded is None and quality(seen) == ""
    assert "only encodes" in meaning(seen, seen)


def test_an_edit_changes_one_id_and_only_what_depends_on_it():
    tokenizer = tiny("convnet")
    coded = encode(tokenizer, photo())
    edit = Edit(1, 7, (int(coded.tokens.ids[0, 1, 7]) + 1) % coded.tokens.vocab_sizes[1])
    changed = edited(coded.tokens, [edit])
    assert (changed.ids != coded.tokens.ids).nonzero().tolist() == [[0, 1, 7]]
    before, after = look(tokenizer, coded), look(tokenizer, coded, edits=[edit])
    assert torch.equal(after.decoded, tokenizer.to_uint8(tokenizer.decode(changed)[0]))
    assert re.match(r"[\d.]+% of the pixels changed by more than 1 of 255", meaning(before, after))
    assert meaning(before, look(tokenizer, coded, edits=[Edit(1, 7, int(coded.tokens.ids[0, 1, 7]))])) == "No pixel changed."


def test_an_edit_of_sound_says_when():
    tokenizer = tiny("spectral")
    coded = encode(tokenizer, sound(16000))
    old, hop = int(coded.tokens.ids[0, 0, 100]), tokenizer.spec.hop_samples
    before, after = look(tokenizer, coded), look(tokenizer, coded, edits=[Edit(0, 100, old ^ 1)])
    start, end = (float(n) for n in re.search(r"from ([\d.]+) to ([\d.]+) s", meaning(before, after)).groups())
    assert start - 0.02 <= 100 * hop / 16000 <= end + 0.02 and end - start < 0.2
    assert meaning(before, before) == "No sample changed."


def test_an_edit_fills_the_stride_of_its_codebook():
    coded = encode(tiny("snac"), sound())
    tokens, step = coded.tokens, coded.tokens.strides[0]
    assert step > 1
    other = (int(tokens.ids[0, 0, step]) + 1) % tokens.vocab_sizes[0]
    changed = edited(tokens, [Edit(0, 2 * step - 1, other)])
    assert (changed.ids != tokens.ids).nonzero()[:, 2].tolist() == list(range(step, 2 * step))


@pytest.mark.parametrize("edit, message", [((9, 0, 0), "codebook is 9"), ((0, 999, 0), "position is 999"), ((0, 0, -1), "id is -1")])
def test_an_edit_of_nothing_is_refused(edit, message):
    coded = encode(tiny("convnet"), photo())
    with pytest.raises(ValueError, match=f"{message}; allowed: 0 to "):
        edited(coded.tokens, [Edit(*edit)])


def test_media_of_another_kind_are_refused():
    with pytest.raises(ValueError, match=r"photos takes pictures, and s.wav is sound; pick another"):
        check_kind(tiny("convnet"), "photos", sound())


# --- what is shown ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "label, shapes",
    [
        ("convnet", [(10, 14)] * 3),
        ("var-vq", [(1, 1), (2, 2), (4, 4)]),
        ("dualvitok", [(5, 7), (20, 28)]),
        ("titok", [(1, 6)]),
    ],
)
def test_each_id_has_one_place(label, shapes):
    tokenizer = tiny(label)
    tokens = encode(tokenizer, photo()).tokens
    found = panels(tokens, "image")
    assert [p.ids.shape for p in found] == shapes
    for k, count in enumerate(tokens.counts()[0]):
        for position in range(count):
            (panel,) = [p for p in found if p.cell(k, position) is not None]
            assert panel.ids[panel.cell(k, position)] == tokens.ids[0, k, position]


def test_sound_has_a_row_for_each_codebook():
    tokens = encode(tiny("spectral"), sound()).tokens
    (panel,) = panels(tokens, "audio")
    assert np.array_equal(panel.ids, tokens.ids[0].numpy())
    assert panel.cell(2, 5) == (2, 5) and panel.cell(3, 0) is None
    marked = np.asarray(panel.image((2, 5)))
    assert marked[2, 5].tolist() == [255] * 3 and (marked.min(-1) == 255).sum() == 1


def test_ids_have_colours_of_their_own():
    rgb = id_colours(np.arange(1024))
    assert len(np.unique(rgb, axis=0)) > 1000
    near = np.abs(rgb[1:].astype(int) - rgb[:-1]).max(-1)
    assert near.min() > 60, "neighbouring ids are far apart"
    assert id_colours(np.array([[-1]])).tolist() == [[[235] * 3]]


def test_sheets_hold_all_they_show_and_escape_what_comes_from_outside():
    tokenizer, name = tiny("convnet"), "<script>alert(1)</script>"
    coded = encode(tokenizer, photo())
    seen, after = look(tokenizer, coded), look(tokenizer, coded, edits=[Edit(0, 3, 1)])
    html = sheet(name, tokenizer, coded, seen, mark=(0, 3)) + comparison(seen, after, Edit(0, 3, 1)) + notice(name)
    assert "<script" not in html and html.count("&lt;script&gt;") == 2
    assert all(source.startswith("data:") for source in re.findall(r'src="(.*?)"', html)) and html.count("<img") == 3 + 3 + 2
    assert f"<b>{seen.bits:,}</b>bits" in html and "PSNR" in html
    tokenizer = tiny("spectral")
    coded = encode(tokenizer, sound())
    html = sheet("s", tokenizer, coded, look(tokenizer, coded))
    assert html.count("<audio controls") == 2 and html.count("data:audio/wav;base64,") == 2 and "kbit/s" in html


# --- which tokenizers ---------------------------------------------------------------------------------------------------


def test_the_pool_offers_the_shipped_ones_first_and_keeps_the_last_used(tmp_path, monkeypatch):
    from tokenzoo.zoo.demo import pool as module

    names = []
    monkeypatch.setattr(module, "load", lambda name: names.append(name) or tiny("latent" if name == "f" else "convnet"))
    pool = Pool(keep=2)
    assert set(pool.names[:2]) == {"photo-f16-rvq7", "speech-16khz-4kbps"} and len(pool.names) > 100
    for name in ("a", "b", "a", "c", "a", "b"):
        pool.get(name)
    assert names == ["a", "b", "c", "b"]
    with pytest.raises(ValueError, match="features of another network"):
        pool.get("f")
    assert pool.fits("encodec-24khz", "audio") and "encodec-24khz" not in names, "its card knows"


def test_visitors_from_elsewhere_pick_from_the_list_only():
    pool = Pool(["file:mine"], anything=False)
    assert pool.names[0] == "file:mine" and len(pool.names) == 3
    with pytest.raises(ValueError, match="is not offered here; offered are file:mine, "):
        pool.get("/etc")


@pytest.mark.slow
def test_every_family_can_be_shown():
    """In tiny form; one id of the first codebook is changed, and the shortest prefix shown."""
    shown = 0
    for label in TINY:
        tokenizer = tiny(label)
        if tokenizer.spec.modality == "latent" or label.startswith("speech-units"):  # units need centres
            continue
        medium = photo() if tokenizer.spec.modality == "image" else sound(9000, channels=2)
        coded = encode(tokenizer, medium)
        cuts = {axis: 1 for axis in tokenizer.spec.prefix}
        edit = Edit(0, 0, (int(coded.tokens.ids[0, 0, 0]) + 1) % coded.tokens.vocab_sizes[0])
        before, after = look(tokenizer, coded, **cuts), look(tokenizer, coded, **cuts, edits=[edit])
        html = sheet(label, tokenizer, coded, after, mark=(0, 0)) + comparison(before, after, edit)
        assert meaning(before, after).endswith(".") and html.count("<img") >= 2, label
        shown += 1
    assert shown > 80


def test_the_page_builds_and_its_functions_work():
    pytest.importorskip("gradio", reason="the extra demo is not installed")
    from tokenzoo.zoo.demo.page import build, explain

    pool = Pool()
    page = build(pool)
    ids = {c["props"].get("elem_id") for c in page.config["components"]}
    assert ids >= {"pick-a", "pick-b", "drop", "record", "message", "sheet-a", "codebooks-a", "sheet-b", "change-b", "example-speech"}
    assert not page.analytics_enabled and {f.api_visibility for f in page.fns.values()} == {"private"}
    uploads = [f for f in page.fns.values() if any(event == "upload" for _, event in f.targets)]
    assert len(uploads) == 1
    out = uploads[0].fn("gone.png", "photo-f16-rvq7", "none")
    assert out[-1].count("gone.png is no longer there") == 1 and "bad" in out[-1] and len(out) == len(uploads[0].outputs)
    assert explain(KeyError("no such model")) == "no such model" and explain(RuntimeError("x\ny")).endswith("(RuntimeError: x).")


# --- the command --------------------------------------------------------------------------------------------------------


def test_the_command_refuses_what_it_cannot_serve(monkeypatch):
    import socket
    import sys

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ran = run("demo", "--serve", "--port", taken.getsockname()[1])
    assert ran.code == 1 and "cannot be used" in ran.err and "--port" in ran.err
    ran = run("demo", "--serve", "--port", 70000)
    assert ran.code == 1 and "the port is 70000; allowed: 0 (any free one) to 65535" in ran.err
    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY", "NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")  # set by the command; this puts them back
    monkeypatch.setitem(sys.modules, "gradio", None)
    ran = run("demo", "--serve", "--port", 0)
    assert ran.code == 1 and ran.err == "error: this needs the package gradio: pip install 'tokenzoo[demo]'\n"
    ran = run("demo", "some-model")
    assert ran.code == 1 and "names belong to the page; add --serve" in ran.err
