"""Encoding, training, evaluation and bulk jobs read media alike: the same samples and pixels, the same ids, the same refusals.

    pytest tests/test_one_intake.py
"""

import io
import os
import threading
from pathlib import Path

import media_cases
import numpy as np
import pytest
import soundfile
import torch
from corpus_cases import lively, make
from media_cases import SOUNDS, chirp, image_file, jpeg_with_exif, picture, sound, vbr_mp3, without_first_frame
from PIL import Image
from tokenzoo.codecs.media import MediaError, as_pictures, as_waveforms, resample, to_channels
from tokenzoo.codecs.spec import AudioSpec, ImageSpec
from tokenzoo.train.data.audio import AudioDataConfig
from tokenzoo.train.data.images import ImageDataConfig
from tokenzoo.train.data.loader import Clips
from tokenzoo.zoo.corpus import TokenDataset
from tokenzoo.zoo.evaluate import evaluate
from tokenzoo.zoo.evaluate.audio import AudioMetrics
from tokenzoo.zoo.evaluate.images import ImageMetrics
from waiting import PATIENCE_SECONDS

RATE = 16000


def sound_files() -> dict[str, bytes]:
    """Files of 0.5 s of every kind, rate and number of channels."""
    files = {kind.replace(" ", "-") + ".wav": sound(kind, chirp(0.5)) for kind in SOUNDS}
    files |= {f"stereo-{kind}.wav": sound(kind, chirp(0.5, channels=2)) for kind in ("wav", "vorbis", "mp3")}
    files |= {f"{rate}.flac": sound("flac", chirp(0.5, rate), rate) for rate in (8000, 11025, 22050, 44100, 48000)}
    files |= {"vbr.mp3": vbr_mp3(0.5), "no-xing.mp3": without_first_frame(vbr_mp3(0.5)), "loud.wav": sound("float wav", chirp(0.5) * 4)}
    files["pipe.wav"] = media_cases.wav_header(0, 0) + (chirp(0.3)[:, 0] * 30000).astype("<i2").tobytes()
    return files


def picture_files() -> dict[str, bytes]:
    """Files of every mode, depth and format."""
    p = picture()
    alpha = np.dstack([p, np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))])
    deep = np.linspace(0, 65535, 48 * 64).reshape(48, 64)

    def of(image: Image.Image, format: str, **options) -> bytes:
        file = io.BytesIO()
        image.save(file, format, **options)
        return file.getvalue()

    rgb = Image.fromarray(p)
    files = {"plain.png": image_file(p, "PNG"), "plain.jpg": image_file(p, "JPEG"), "plain.webp": image_file(p, "WEBP")}
    files |= {"alpha.png": image_file(alpha, "PNG"), "grey-alpha.png": of(Image.fromarray(alpha).convert("LA"), "PNG")}
    files["deep.png"] = image_file(deep.astype(np.uint16), "PNG")
    files["float.tif"] = of(Image.fromarray((deep / 65535).astype(np.float32)), "TIFF")
    files |= {"palette.png": of(rgb.quantize(50), "PNG"), "palette.gif": of(rgb.quantize(50), "GIF", transparency=3)}
    files |= {f"{mode}.png": of(rgb.convert(mode), "PNG") for mode in ("1", "L")} | {"cmyk.jpg": of(rgb.convert("CMYK"), "JPEG")}
    turned = (0x0112, 3, 1, b"\6\0\0\0")
    files["turned.jpg"] = jpeg_with_exif([turned])
    minus_one_over_nothing = b"\xff\xff\xff\xff\0\0\0\0"
    files["broken-exif.jpg"] = jpeg_with_exif([turned, (0x011A, 10, 1, b"\x26\0\0\0")], minus_one_over_nothing)
    return files


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def trained(folder: Path | str, config, spec, **options) -> Clips:
    return Clips(str(folder), config.media(spec), config, seed=0, **options)


# --- sound ------------------------------------------------------------------------------------------------------------

SOUND_FILES = sound_files()
MONO = AudioSpec(vocab_sizes=(16,), sample_rate_hz=RATE, hop_samples=80)


@pytest.mark.parametrize("name", SOUND_FILES)
@pytest.mark.parametrize("cache", ["none", pytest.param("memory", marks=pytest.mark.slow)])
def test_training_crops_are_pieces_of_what_encode_reads(name, cache, tmp_path):
    write(tmp_path, {name: SOUND_FILES[name]})
    (clip,) = as_waveforms(tmp_path / name, default_rate_hz=RATE, channels=1)
    whole = to_channels(resample(clip.samples, clip.sample_rate_hz, RATE), 1)[0]
    config = AudioDataConfig(crop_seconds=0.1, min_level_db=-100, cache=cache)
    clips = trained(tmp_path, config, MONO)
    places = []
    for i in range(5):
        crop = clips[i][0][0]
        windows = whole.unfold(0, len(crop), 1)
        peak = windows.abs().amax(1, keepdim=True).clamp(min=1)  # crops never exceed full scale
        away = (windows / peak - crop).abs().amax(1)
        assert float(away.min()) < (1e-4 if cache == "memory" else 1e-5), "no piece of the whole"
        places.append(int(away.argmin()))
    assert len(set(places)) > 2
    first = trained(tmp_path, config, MONO, train=False)[0][0][0]
    assert torch.allclose(first, whole[: len(first)] / whole[: len(first)].abs().max().clamp(min=1), atol=1e-4)


def test_the_cache_gives_the_same_crops_at_every_rate(tmp_path):
    write(tmp_path, {n: SOUND_FILES[n] for n in ("11025.flac", "44100.flac", "vbr.mp3", "opus.wav")})
    plain, kept = (trained(tmp_path, AudioDataConfig(crop_seconds=0.1, cache=c), MONO) for c in ("none", "memory"))
    assert all((plain[i][0] - kept[i][0]).abs().max() < 1e-4 for i in range(8))


def test_sound_in_encode_bulk_jobs_and_evaluation(tmp_path):
    write(tmp_path / "in", SOUND_FILES)
    tokenizer = lively("spectral")
    metrics = AudioMetrics(tokenizer)
    result = make(tokenizer, tmp_path / "in", tmp_path / "out")
    assert not result.failures
    data = TokenDataset(tmp_path / "out", seed=None)
    assert data.documents == len(SOUND_FILES)
    for i in range(data.documents):
        path = tmp_path / "in" / data.metadata(i)["key"]
        tokens = tokenizer.encode(path)
        assert data.tokens(i).equal(tokens), path.name
        assert torch.equal(tokenizer.encode(path.read_bytes()).ids, tokens.ids), path.name
        assert torch.equal(tokenizer.encode(metrics.read(path)).ids, tokens.ids), path.name


def test_six_channels_are_refused_for_a_stereo_codec_everywhere(tmp_path):
    write(tmp_path / "in", {"six.wav": sound("wav", chirp(0.5, channels=6)), "two.wav": sound("wav", chirp(0.5, channels=2))})
    tokenizer = lively("encodec-stereo-segments")
    says = "6 channels cannot become 2"
    with pytest.raises(MediaError, match=says):
        tokenizer.encode(tmp_path / "in/six.wav")
    (failure,) = make(tokenizer, tmp_path / "in", tmp_path / "out").failures
    assert failure["key"] == "six.wav" and says in failure["reason"]
    report = evaluate(tokenizer, tmp_path / "in")
    assert [says in why for why in report.failed.values()] == [True] and report.items == 1
    spec = AudioSpec(vocab_sizes=(16,), sample_rate_hz=RATE, hop_samples=80, channels=2)
    clips = trained(tmp_path / "in", AudioDataConfig(crop_seconds=0.1, cache="memory"), spec)
    assert [says in why for why in clips.broken.values()] == [True] and len(clips.items) == 1


# --- pictures ---------------------------------------------------------------------------------------------------------

PICTURE_FILES = picture_files()
SPEC = ImageSpec(vocab_sizes=(16,), stride=4)


@pytest.mark.parametrize("name", PICTURE_FILES)
@pytest.mark.parametrize("cache", ["none", "memory"])
def test_training_sees_the_pixels_that_encode_sees(name, cache, tmp_path):
    write(tmp_path, {name: PICTURE_FILES[name]})
    (whole,) = as_pictures(tmp_path / name, SPEC.value_range)
    side = min(whole.shape[1:])
    clips = trained(tmp_path, ImageDataConfig(crop=side, cache=cache, flip=False), SPEC, train=False)
    top, left = (whole.shape[1] - side) // 2, (whole.shape[2] - side) // 2
    assert torch.allclose(clips[0][0], whole[:, top : top + side, left : left + side], atol=1e-6)
    assert float(whole.std()) > 0.1, "and they see something"


def test_deep_pictures_are_resized_and_mirrored_as_others_are(tmp_path):
    shallow = picture()[..., 0]
    write(tmp_path / "a", {"x.png": image_file(shallow, "PNG")})
    write(tmp_path / "b", {"x.png": image_file(shallow.astype(np.uint16) * 257, "PNG")})
    config = ImageDataConfig(crop=24, scales=(0.5, 0.75, 1.0), min_std=5, max_side=60, cache="memory")
    a, b = trained(tmp_path / "a", config, SPEC), trained(tmp_path / "b", config, SPEC)
    assert b.items[0].dtype == np.float32
    assert all((a[i][0] - b[i][0]).abs().max() < 0.02 for i in range(20))


def test_pictures_in_encode_bulk_jobs_and_evaluation(tmp_path):
    write(tmp_path / "in", PICTURE_FILES)
    tokenizer = lively("convnet")
    metrics = ImageMetrics(tokenizer)
    result = make(tokenizer, tmp_path / "in", tmp_path / "out")
    assert not result.failures
    data = TokenDataset(tmp_path / "out", seed=None)
    assert data.documents == len(PICTURE_FILES)
    for i in range(data.documents):
        path = tmp_path / "in" / data.metadata(i)["key"]
        tokens = tokenizer.encode(path)
        assert data.tokens(i).equal(tokens), path.name
        assert torch.equal(tokenizer.encode(path.read_bytes()).ids, tokens.ids), path.name
        if path.name not in ("deep.png", "float.tif"):  # evaluation is of 8-bit pictures
            assert torch.equal(tokenizer.encode(metrics.read(path)).ids, tokens.ids), path.name


def test_broken_exif_changes_no_id(tmp_path):
    write(tmp_path, PICTURE_FILES)
    tokenizer = lively("convnet")
    good, broken = (tokenizer.encode(tmp_path / n) for n in ("turned.jpg", "broken-exif.jpg"))
    assert good.grid == (16, 12) and broken.equal(good)


# --- what nobody reads ------------------------------------------------------------------------------------------------


def test_files_that_are_no_files_are_listed_by_all_and_hold_up_none(tmp_path):
    folder = write(tmp_path / "in", {"good.wav": sound("wav", chirp(0.5)), "cut.wav": sound("wav", chirp(0.5))[:900]})
    for name in ("pipe.wav", "pipe.tar", "pipe.parquet"):
        os.mkfifo(folder / name)
    (folder / "null.wav").symlink_to("/dev/null")
    (folder / "back").symlink_to(folder)
    (folder / "again.wav").symlink_to(folder / "good.wav")
    bad = {"pipe.wav", "null.wav", "cut.wav"}
    found = {}

    def work() -> None:
        tokenizer = lively("spectral")
        result = make(tokenizer, folder, tmp_path / "out")
        found["bulk"] = ({f["key"] for f in result.failures}, result.manifest["totals"]["items"])
        report = evaluate(tokenizer, folder)
        found["eval"] = ({Path(n).name for n in report.failed}, report.items)
        clips = trained(folder, AudioDataConfig(crop_seconds=0.1, cache="memory"), MONO)
        found["train"] = ({Path(n).name for n in clips.broken}, len(clips.items))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive(), "waits for somebody to write into a FIFO"
    assert found["bulk"] == (bad | {"pipe.tar", "pipe.parquet"}, 1)
    assert found["eval"] == (bad, 1)
    assert found["train"] == (bad | {"pipe.tar"}, 1)


def test_rows_of_datasets_are_taken_as_they_come(tmp_path):
    datasets = pytest.importorskip("datasets")
    write(tmp_path, {"x.flac": sound("flac", chirp(0.5, 22050), 22050), "x.png": PICTURE_FILES["plain.png"]})
    rows = datasets.Dataset.from_dict({"audio": [str(tmp_path / "x.flac")], "image": [str(tmp_path / "x.png")]})
    sounds = rows.cast_column("audio", datasets.Audio(decode=False))
    pictures = rows.cast_column("image", datasets.Image())
    heard, seen = lively("spectral"), lively("convnet")
    assert heard.encode(sounds[0]["audio"]).equal(heard.encode(tmp_path / "x.flac"))
    x, rate = soundfile.read(tmp_path / "x.flac", dtype="float32")
    assert heard.encode({"array": x, "sampling_rate": rate, "path": None}).equal(heard.encode(tmp_path / "x.flac"))
    assert seen.encode(pictures[0]["image"]).equal(seen.encode(tmp_path / "x.png"))
    plain = rows.cast_column("image", datasets.Image(decode=False))
    assert seen.encode(plain[0]["image"]).equal(seen.encode(tmp_path / "x.png"))
    both = heard.encode([sounds[0]["audio"], tmp_path / "x.flac", io.BytesIO((tmp_path / "x.flac").read_bytes())])
    assert len(both) == 3 and torch.equal(both[0].ids, both[2].ids)
