"""Run files: inheritance, overrides, and errors that name the key.

    pytest tests/train/test_config.py
"""

import pytest
from tokenzoo.codecs.config import ConfigError, to_mapping
from tokenzoo.train.config import FROM_INIT, differences
from tokenzoo.train.files import bundled_names, bundled_purpose, find, load_run, merge, names_like, parse_run, read_mapping
from train_media import image_run

BASE = """
model: {family: convnet, config: {latent_dim: 8, quantizer: {kind: fsq, levels: [8, 8]}}}
data: {kind: images, crop: 64}
losses:
  pixel: {weight: 2.0, distance: l2}
  quantizer: {weight: 1.0}
optimizer: {lr: 1e-4}
output: out
"""


@pytest.fixture
def base(tmp_path):
    (tmp_path / "_base.yaml").write_text(BASE)
    return tmp_path


def leaf(folder, text, name="leaf.yaml"):
    (folder / name).write_text(text)
    return folder / name


def test_chain_of_parents_merges_level_by_level(base):
    leaf(base, "base: _base.yaml\nlosses: {pixel: {weight: 3}}\nsteps: 10", "middle.yaml")
    run = load_run(leaf(base, "base: middle.yaml\nsteps: 20\nlosses: {quantizer: null}"))
    assert run.steps == 20
    assert run.losses.keys() == {"pixel"}
    assert (run.losses["pixel"].weight, run.losses["pixel"].distance) == (3.0, "l2")
    assert run.optimizer.lr == 1e-4


def test_another_kind_replaces_its_section():
    parent = {"quantizer": {"kind": "vq", "codebook_size": 9}, "x": {"a": 1, "b": 2}}
    child = {"quantizer": {"kind": "fsq", "levels": [8]}, "x": {"b": 3}}
    assert merge(parent, child) == {"quantizer": {"kind": "fsq", "levels": [8]}, "x": {"a": 1, "b": 3}}


def test_overrides_of_every_type(base):
    run = load_run(
        leaf(base, "base: _base.yaml"),
        ["data.train=[a,b]", "steps=7", "optimizer.lr=1e-3", "losses.pixel.distance=l1", "ema.warmup=false", "init=x"],
    )
    assert run.data.train == ("a", "b")
    assert (run.steps, run.optimizer.lr, run.losses["pixel"].distance) == (7, 1e-3, "l1")
    assert run.ema.warmup is False
    assert run.init == "x"
    assert load_run(base / "leaf.yaml", ["data.train=one"]).data.train == "one"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("stepz=3", ["stepz", "'steps'"]),
        ("data.crob=3", ["data.crob", "'crop'"]),
        ("losses.pixl.weight=3", ["pixl", "'pixel'"]),
        ("losses.pixel.wight=3", ["losses.pixel.wight", "'weight'"]),
        ("data.kind=image", ["'image'", "'images'"]),
        ("steps=many", ["steps", "int", "'many'"]),
        ("precision=fp8", ["precision", "'fp8'", "bfloat16"]),
        ("device=gpu", ["device", "'gpu'", "cuda"]),
        ("optimizer.lr=.nan", ["optimizer.lr", "nan"]),
        ("optimizer.lr=-1", ["optimizer.lr", "-1"]),
        ("grad_clip=.inf", ["grad_clip", "inf"]),
        ("steps=-5", ["steps", "-5"]),
        ("ema.decay=5", ["ema.decay", "at most 1"]),
        ("every.keep=-2", ["every.keep", "-2"]),
        ("losses.pixel.weight=.nan", ["losses.pixel.weight", "nan"]),
        ("balance.decay=1", ["balance.decay"]),
        ("precision=float16 balance.kind=gradients", ["balance.kind", "float16"]),
        ("losses.pixel.weight=[1", ["losses.pixel.weight=[1"]),
        ("losses.pixel.distance=${", ["losses.pixel.distance=${"]),
        ("batch_size=5 accumulation=2", ["batch_size", "accumulation"]),
        ("losses.adversarial.weight=1", ["discriminator"]),
        ("discriminators.patchgan.channels=8", ["adversarial"]),
        ("losses.distillation.teacher=hubert", ["hubert"]),
        ("steps", ["key=value"]),
    ],
)
def test_errors_name_the_key_and_the_nearest(base, override, words):
    path = leaf(base, "base: _base.yaml")
    with pytest.raises(ConfigError) as error:
        load_run(path, override.split())
    assert all(word in str(error.value) for word in words), str(error.value)


def test_data_sets_of_the_hub_in_a_run_file(base):
    leaf(base, "base: _base.yaml\ndata: {train: [photos, {hub: org/name, column: image}], valid: {hub: a, column: b}}")
    data = load_run(base / "leaf.yaml").data
    assert (data.train[0], data.train[1].hub, data.valid.column) == ("photos", "org/name", "b")
    with pytest.raises(ConfigError, match="'columm'"):
        load_run(base / "leaf.yaml", ["data.valid.columm=x"])


def test_one_vocabulary_of_number_types(base):
    path = leaf(base, "base: _base.yaml")
    for short, word in (("fp32", "float32"), ("bf16", "bfloat16"), ("fp16", "float16")):
        assert load_run(path, [f"precision={short}"]).precision == load_run(path, [f"precision={word}"]).precision == word
    assert load_run(path, ["device=cuda:1"]).device == "cuda:1"


def test_a_base_is_seen_from_the_file_first_and_is_bundled_else(base):
    own = "model: {family: convnet}\noutput: out\n"
    for name in ("image/_base.yaml", "image/_base", "configs/image/_base.yaml"):
        run = load_run(leaf(base, f"base: {name}\n{own}"))
        assert (run.losses["pixel"].distance, run.losses["pixel"].weight) == ("l1", 1.0)
    (base / "image").mkdir()
    (base / "image" / "_base.yaml").write_text(BASE)
    assert load_run(leaf(base, f"base: image/_base.yaml\n{own}")).losses["pixel"].distance == "l2"
    assert load_run(leaf(base, "base: audio/speech-16khz-4kbps\nsteps: 3", "mine.yaml")).data.crop_seconds == 1.2
    with pytest.raises(ConfigError, match=r"no bundled file of this name.*audio/_base\.yaml, .*image/_base\.yaml"):
        load_run(leaf(base / "image", "base: ../_base.yml", "x.yaml"))
    with pytest.raises(ConfigError, match="base is 3"):
        load_run(leaf(base, "base: 3", "y.yaml"))


def test_bundled_names_are_found_by_what_people_type():
    assert names_like("encodec") == ["audio/encodec-24khz", "audio/encodec-debug"]
    assert names_like("encodec-24khz.yaml".removesuffix(".yaml")) == ["audio/encodec-24khz"]
    assert "image/taming-vqgan-f16-1024" in names_like("vqgn")
    assert names_like("audio/encodek-24khz")[0] == "audio/encodec-24khz"
    assert names_like("zzzz") == names_like("") == []
    with pytest.raises(ConfigError, match="Did you mean audio/mimi, audio/mimi-debug"):
        find("mimi")


def test_the_model_may_be_left_to_init(base):
    (base / "_base.yaml").write_text(BASE.replace("model:", "x_model:").replace("x_model:", "#"))
    assert load_run(leaf(base, "base: _base.yaml\ninit: x")).model.family == FROM_INIT
    leaf(base, BASE, "whole.yaml")
    assert load_run(base / "whole.yaml").model.family == "convnet"
    assert load_run(base / "whole.yaml", ["model=from_init"]).model.family == FROM_INIT
    model = load_run(base / "whole.yaml", ["model.family=from_init"]).model
    assert (model.family, model.config) == (FROM_INIT, {})
    model = load_run(leaf(base, "base: _base.yaml\nmodel: {frozen: [encoder], config: {quantizer: {dropout: 0.5}}}")).model
    assert (model.family, model.frozen, model.config) == (FROM_INIT, ("encoder",), {"quantizer": {"dropout": 0.5}})


def test_broken_files_are_named(base):
    with pytest.raises(ConfigError, match=r"there is no .*gone\.yaml"):
        load_run(leaf(base, "base: gone.yaml"))
    leaf(base, "base: leaf.yaml", "other.yaml")
    with pytest.raises(ConfigError, match="its own parent"):
        load_run(leaf(base, "base: other.yaml"))
    with pytest.raises(ConfigError, match="cannot be read"):
        load_run(leaf(base, "steps: [1"))
    with pytest.raises(ConfigError, match="`tokenzoo train` lists all"):
        find("audio/nothing-like-this")


def test_written_config_is_read_back_equal(tmp_path):
    run = parse_run(image_run(tmp_path, tmp_path / "out"))
    assert parse_run(to_mapping(run)) == run


def test_only_harmless_keys_may_change(tmp_path):
    old = to_mapping(parse_run(image_run(tmp_path, tmp_path / "out")))
    free = to_mapping(parse_run(image_run(tmp_path, tmp_path / "else", steps=99, every={"log": 5}, threads=2)))
    assert differences(old, free) == []
    changed = to_mapping(parse_run(image_run(tmp_path, tmp_path / "out", batch_size=8)))
    assert differences(old, changed) == ["batch_size: 4 -> 8"]


@pytest.mark.filterwarnings("ignore::tokenzoo.train.files.NotValidated")
@pytest.mark.parametrize("name", bundled_names())
def test_every_bundled_leaf_is_valid_and_says_what_it_is_for(name):
    assert read_mapping(name, ["data.train=x"])
    load_run(name, ["data.train=x"])
    assert find(name).read_text().startswith("#"), f"{name} has no header: what it reaches, on what, how long, how to run"
    assert 5 <= len(bundled_purpose(name)) <= 90
