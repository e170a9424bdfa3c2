"""encode, decode, reconstruct: what is read, what is written, what is said. Run: pytest tests/cli/test_media.py"""

import numpy as np
import pytest
import soundfile
import tokenzoo
import torch
from cli_runs import run, saved
from families import TINY
from PIL import Image

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of tiny tokenizers, as the command names them."""
    labels = ("spectral", "convnet", "karl", "titok", "levo")
    return {label: saved(label, tmp_path_factory.mktemp(label)) for label in labels}


@pytest.fixture
def media(tmp_path):
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    for i in range(2):
        picture(folder / f"p{i}.png", 40 + i, 50)
        soundfile.write(folder / f"s{i}.wav", RNG.normal(size=9000 + i) * 0.1, 16000)
    picture(folder / "deep" / "p0.png", 20, 20)
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "notes.md").write_text("no medium")
    return folder


def picture(path, height, width):
    Image.fromarray(RNG.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(path)
    return path


def names(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_a_folder_is_encoded_with_all_below_it_and_decoded_again(models, media, tmp_path):
    (media / "broken.png").unlink()
    ran = run("encode", models["convnet"], media, "-o", tmp_path / "tok")
    assert ran.code == 0 and not ran.err
    assert names(tmp_path / "tok") == ["deep/p0.png.tok", "p0.png.tok", "p1.png.tok"]
    assert "3 codebooks x 130 positions" in ran.out, "codebooks first"
    assert run("decode", models["convnet"], tmp_path / "tok", "-o", tmp_path / "back").code == 0
    assert names(tmp_path / "back") == ["deep/p0.png", "p0.png", "p1.png"]
    assert Image.open(tmp_path / "back/p1.png").size == (50, 41)


def test_a_pattern_and_a_list_name_files(models, media, tmp_path):
    assert run("encode", models["convnet"], media / "p*.png", "-o", tmp_path / "a").code == 0
    (media / "list.txt").write_text("p1.png\n\ndeep/p0.png\n")
    assert run("encode", models["convnet"], media / "list.txt", "-o", tmp_path / "b").code == 0
    assert (names(tmp_path / "a"), names(tmp_path / "b")) == (["p0.png.tok", "p1.png.tok"], ["p0.png.tok", "p1.png.tok"])


def test_reconstructed_sound_keeps_length_and_rate(models, media, tmp_path):
    assert run("reconstruct", models["spectral"], media / "s0.wav", media / "s1.wav", "-o", tmp_path / "out").code == 0
    info = soundfile.info(tmp_path / "out/s1.wav")
    assert (info.frames, info.samplerate) == (9001, 16000)


def test_results_of_equal_names_are_all_kept(models, tmp_path):
    """Nothing is written over: neither files that differ in their ending or their folder, nor in capitals."""
    for name in ("cat.jpg", "cat.png", "cat.webp", "a/x/1.png", "b/x/1.png", "c/x/1.PNG"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        picture(tmp_path / name, 16, 16)
    files = [tmp_path / n for n in ("cat.jpg", "cat.png", "cat.webp", "a/x/1.png", "b/x/1.png", "c/x/1.PNG")]
    assert run("encode", models["convnet"], *files, "-o", tmp_path / "tok").code == 0
    assert len({n.casefold() for n in names(tmp_path / "tok")}) == 6
    assert run("decode", models["convnet"], tmp_path / "tok", "-o", tmp_path / "back").code == 0
    assert len(names(tmp_path / "back")) == 6
    assert {"cat.jpg.png", "cat.png.png", "cat.webp.png"} <= set(names(tmp_path / "back"))
    assert run("reconstruct", models["convnet"], *files, "-o", tmp_path / "again").code == 0
    assert len(names(tmp_path / "again")) == 6


def test_folders_that_read_alike_when_joined_get_numbers(tmp_path):
    from pathlib import Path

    from tokenzoo.cli.files import name_outputs
    from tokenzoo.zoo.finding import Found

    found = [Found(Path(name), Path("x.png")) for name in ("/a_b/c/x.png", "/a/b_c/x.png", "/z/c/x.png", "/z/b_c/x.png")]
    paths = name_outputs(found, tmp_path, ".tok", whole=True)
    assert [p.name for p in paths] == ["a_b_c_x-2.png.tok", "a_b_c_x.png.tok", "z_c_x.png.tok", "z_b_c_x.png.tok"]
    assert name_outputs(found[:1], tmp_path, ".tok", whole=True) == [tmp_path / "x.png.tok"]


def test_what_follows_a_dot_is_kept_where_it_is_no_ending(tmp_path):
    from pathlib import Path

    from tokenzoo.cli.files import name_outputs
    from tokenzoo.zoo.finding import Found

    def named(*files: str) -> list[str]:
        found = [Found(Path(name), Path(Path(name).name)) for name in files]
        return [p.name for p in name_outputs(found, tmp_path, ".wav", drop=".tok")]

    assert named("take.1.tok") == ["take.1.wav"] and named("take.1.tok", "take.2.tok") == ["take.1.wav", "take.2.wav"]
    assert named("talk.mp3.tok", "v1.0 (mono)") == ["talk.wav", "v1.0 (mono).wav"]
    assert named("a/f.wav.tok", "b/f.wav.tok") == ["a_f.wav.wav", "b_f.wav.wav"]


def test_a_result_never_takes_the_place_of_what_is_read(models, media):
    before = (media / "p0.png").read_bytes()
    ran = run("reconstruct", models["convnet"], media / "p0.png", "-o", media)
    assert ran.code == 1 and "would overwrite" in ran.err
    assert (media / "p0.png").read_bytes() == before


def test_what_fails_is_listed_at_the_end_and_the_rest_is_done(models, media, tmp_path):
    ran = run("encode", models["convnet"], media / "*.png", media / "gone.png", media / "s0.wav", "-o", tmp_path / "tok")
    assert ran.code == 1
    assert names(tmp_path / "tok") == ["p0.png.tok", "p1.png.tok"]
    assert "3 of 5 files failed" in ran.err
    assert "broken.png: " in ran.err and "cannot read" in ran.err
    assert "gone.png: no such file" in ran.err
    assert f"s0.wav: {models['convnet']} takes pictures, this is sound." in ran.err
    ran = run("encode", models["spectral"], media / "p0.png", "-o", tmp_path / "tok")
    assert ran.code == 1 and "takes sound, this is a picture." in ran.err
    ran = run("decode", models["convnet"], media / "p0.png", "-o", tmp_path / "back")
    assert ran.code == 1 and "no token file; to get one: tokenzoo encode" in ran.err


def test_an_error_of_the_network_is_one_items_failure(models, media, tmp_path, monkeypatch):
    from tokenzoo.codecs.image.convnet import ConvTokenizer

    inner = ConvTokenizer.encode_latents

    def refuse(self, x):
        if x.shape[-2] <= 40:
            raise RuntimeError("CUDA error: out of something\nand a page more")
        return inner(self, x)

    monkeypatch.setattr(ConvTokenizer, "encode_latents", refuse)
    ran = run("encode", models["convnet"], media / "p*.png", "-o", tmp_path / "tok")
    assert ran.code == 1 and names(tmp_path / "tok") == ["p1.png.tok"]
    assert "p0.png: RuntimeError: CUDA error: out of something" in ran.err and "a page more" not in ran.err


def test_the_model_is_the_first_word(models, media, tmp_path):
    file = media / "p0.png"
    ran = run("encode", file, models["convnet"], "-o", tmp_path / "tok")
    assert ran.code == 1 and f"the model comes first, then the files; '{file}' is no model" in ran.err
    ran = run("encode", file, "-m", models["convnet"], "-o", tmp_path / "tok")
    assert ran.code == 2 and "the model comes first" in ran.err
    assert not (tmp_path / "tok").exists()


def test_options_reach_the_model(models, tmp_path):
    square = picture(tmp_path / "square.png", 32, 32)
    tok = tokenzoo.load(models["karl"])
    spec = tok.spec
    assert run("encode", models["karl"], square, "-o", tmp_path / "a", "-O", "token_budget=2", "-O", "resize=squash").code == 0
    want = tok.encode(square, token_budget=2, resize="squash")
    assert tokenzoo.Tokens.load(tmp_path / "a/square.png.tok").ids.equal(want.ids)
    assert run("encode", models["karl"], square, "-o", tmp_path / "b", "--positions", 2, "-O", "resize=squash").code == 0
    assert (tmp_path / "a/square.png.tok").read_bytes() == (tmp_path / "b/square.png.tok").read_bytes()
    assert spec.modality == "image"


def test_the_first_codebooks(models, media, tmp_path):
    """Cut when they are encoded, decoded or reconstructed: the sound is the same."""
    model, file = models["spectral"], media / "s0.wav"
    assert run("encode", model, file, "-o", tmp_path / "a", "--codebooks", 2).code == 0
    assert tokenzoo.Tokens.load(tmp_path / "a/s0.wav.tok").num_codebooks == 2
    assert run("encode", model, file, "-o", tmp_path / "b").code == 0
    assert run("decode", model, tmp_path / "a", "-o", tmp_path / "c").code == 0
    assert run("decode", model, tmp_path / "b", "-o", tmp_path / "d", "--codebooks", 2).code == 0
    assert run("reconstruct", model, file, "-o", tmp_path / "e", "--codebooks", 2).code == 0
    assert len({(tmp_path / folder / "s0.wav").read_bytes() for folder in "cde"}) == 1
    ran = run("decode", model, tmp_path / "b", "-o", tmp_path / "f", "--codebooks", 9)
    assert ran.code == 1 and "codebooks" in ran.err and "1 to 3" in ran.err


@pytest.mark.parametrize(
    "words, said",
    [
        (("-O", "qualiti=0.1"), "no option 'qualiti'. Did you mean 'quality'"),
        (("-O", "quality=good"), "quality is 'good'; allowed: float"),
        (("-O", "quality"), "-O takes key=value, got 'quality'"),
        (("-O", "quality=0.1", "-O", "quality=0.2"), "-O quality is given twice"),
        (("--positions", "3", "-O", "token_budget=2"), "--positions 3 and -O token_budget=2 contradict each other"),
    ],
)
def test_options_are_checked_before_anything_is_done(models, media, tmp_path, words, said):
    ran = run("encode", models["karl"], media / "p0.png", "-o", tmp_path / "a", *words)
    assert ran.code == 1 and ran.err.startswith("error: ") and said in ran.err
    assert not (tmp_path / "a").exists()


def test_a_family_without_a_budget_says_so(models, media):
    ran = run("encode", models["convnet"], media / "p0.png", "--positions", 3)
    assert ran.code == 1 and "--positions is for models whose tokens may end early" in ran.err


@pytest.mark.parametrize("device", ["gpu", "cuda:7", "mps"])
def test_a_device_that_is_not_there(models, media, device):
    ran = run("encode", models["convnet"], media / "p0.png", "--device", device)
    assert ran.code == 1 and ran.err.count("\n") == 1 and device in ran.err and "cpu" in ran.err


def test_number_types_by_name(models, media, tmp_path):
    assert run("encode", models["convnet"], media / "p0.png", "-o", tmp_path, "--dtype", "bfloat16").code == 0
    ran = run("encode", models["convnet"], media / "p0.png", "-o", tmp_path, "--dtype", "half")
    assert ran.code == 1 and "float32, bfloat16, float16" in ran.err


def test_tokenizers_of_features_say_what_they_take(models, media, tmp_path):
    ran = run("encode", models["levo"], media / "s0.wav", "-o", tmp_path / "tok")
    assert ran.code == 1 and "levo takes float features" in ran.err and "s0.wav" in ran.err
    torch.manual_seed(0)
    tokenzoo.build_tokenizer(*TINY["levo"]).encode(torch.randn(1, 16, 5)).save(tmp_path / "a.tok")
    ran = run("decode", models["levo"], tmp_path / "a.tok", "-o", tmp_path / "back")
    assert ran.code == 1 and "gives features back" in ran.err
