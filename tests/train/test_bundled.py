"""Every bundled run file builds: model, data, losses, discriminators and teachers, strictly and without weights or downloads.

    pytest tests/train/test_bundled.py
"""

import dataclasses
import re

import pytest
import teacher_models
import torch
import yaml
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.families import FAMILIES, build_tokenizer
from tokenzoo.codecs.serialize import save_folder
from tokenzoo.train.data.media import noise
from tokenzoo.train.files import bundled_names, find, load_run, merge, read_mapping
from tokenzoo.train.losses import perceptual, vision_distance
from tokenzoo.train.moving import Moving
from tokenzoo.train.start import freeze
from tokenzoo.train.weight_norm import add_weight_norm


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    kinds = ("speech_model", "transcriber", "text_model", "vision_model", "language_model", "clip_text")
    stack = {"widths": [8, 8], "blocks": 1, "groups": 4}
    tokenizer = build_tokenizer("vqgan", {"encoder": stack | {"stem_width": 8}, "decoder": stack, "z_channels": 8, "embed_dim": 4})
    save_folder(tokenizer, root / "tokenizer")
    made = {kind: str(getattr(teacher_models, kind)(root / kind)) for kind in kinds}
    return made | {"tokenizer": str(root / "tokenizer"), "text_ids": made["clip_text"]}


def small(teacher, tiny):
    """The same teacher of a tiny model; the layer that it takes is not checked."""
    fields = {f.name for f in dataclasses.fields(teacher)}
    own = {name: tiny[name] for name in ("transcriber", "text_model") if name in fields}
    if "model" in fields:
        own["model"] = ("local-dir:" if teacher.kind == "vision_model" else "") + tiny[teacher.kind]
    if getattr(teacher, "layer", None) is not None:
        own["layer"] = -1
    if getattr(teacher, "form", None) == "embedding":
        own["form"] = "pooled"  # the tiny model has no head
    return dataclasses.replace(teacher, **own)


def small_judge(config, tiny):
    """The same discriminator without the weights of a published network."""
    if config.kind == "speech_model":
        return dataclasses.replace(config, model=tiny["speech_model"])
    return dataclasses.replace(config, pretrained=False) if config.kind == "dino" else config


def small_loss(config, tiny):
    """The same loss with a tiny model of texts."""
    of_contrast = "text_model" if getattr(config, "width", 0) else "clip_text"
    models = {"language_model": "language_model", "text_contrast": of_contrast}
    named = config.kind in models and config.model
    return dataclasses.replace(config, model=tiny[models[config.kind]]) if named else config


#: Runs that name their own model; the others train a loaded one on.
WITH_MODEL = [n for n in bundled_names() if not n.endswith("/fine-tune")]


@pytest.mark.filterwarnings("ignore::tokenzoo.train.files.NotValidated")
@pytest.mark.parametrize("name", WITH_MODEL)
def test_it_builds(name, tiny, monkeypatch):
    monkeypatch.setattr(perceptual, "_official", lambda network: torch.nn.Identity())
    monkeypatch.setattr(perceptual.VggDistance, "from_file", lambda path, inputs, blocks: torch.nn.Identity())
    monkeypatch.setattr(vision_distance, "_network", lambda config: (torch.nn.Identity(), (0.5,) * 3, (0.5,) * 3))
    run = load_run(name, ["data.train=x"])
    with torch.device("meta"):  # sizes only: some models have billions of weights
        tokenizer = build_tokenizer(run.model.family, run.model.config)
    judges = {}
    for judge, config in run.discriminators.items():
        with torch.device("cpu" if config.kind == "speech_model" else "meta"):
            judges[judge] = small_judge(config, tiny).build(tokenizer.spec)
    Moving(run.moving, [{loss: config.weight for loss, config in run.losses.items()}], tokenizer, judges)
    run.data.media(tokenizer.spec)
    for config in run.losses.values():
        small_loss(config, tiny).build(tokenizer.spec)
    for config in run.teachers.values():
        small(config, tiny).build(tokenizer.spec)
    assert add_weight_norm(tokenizer, run.model.weight_norm, "") or not run.model.weight_norm
    freeze(tokenizer, run.model.frozen)
    keys = [f"{key}." for key in tokenizer.state_dict()]
    assert all(any(key.startswith(f"{part}.") for key in keys) for part in run.init_parts)
    own = any(config.needs_widths() for config in run.losses.values())  # ETT's first stage trains a projector alone
    assert own or any(p.requires_grad for p in tokenizer.parameters())


@pytest.fixture(scope="module")
def offered():
    """Names of the features of each image family in training, by its debug run (TiTok's with codes, as its first stage has them)."""
    found = {}
    for name in WITH_MODEL:
        model = read_mapping(name)["model"]
        if name.startswith("image/") and name.endswith("-debug") and not model["family"].endswith(("_codes", "fdt", "latent")):
            changes = {"output": "codes"} if model["family"] == "titok" else {}
            tokenizer = build_tokenizer(model["family"], model.get("config", {}) | changes).train()
            of_maps = tokenizer.spec.modality == "latent"
            shape = load_run(name, ["data.train=x", "data.valid=[]"]).data.media(tokenizer.spec).shape if of_maps else (3, 32, 32)
            out = tokenizer(noise(tokenizer.spec, 2, shape))
            found[model["family"]] = {*found.get(model["family"], ()), *out.features, "z", "z_q"}
    fdt = build_tokenizer("fdt", {"width": 8, "text_width": 6, "code_dim": 8, "quantizer": {"kind": "sparsemax", "codebook_size": 16}})
    found["fdt"] = {*fdt(torch.rand(2, 8, 4), torch.rand(2, 6, 3)).features, "z", "z_q"}
    towers = build_tokenizer(**{k: v for k, v in read_mapping("image/fdt_clip-debug")["model"].items() if k != "features"})
    found["fdt_clip"] = {*towers(torch.rand(2, 3, 32, 32), torch.ones(2, 4, dtype=torch.int64)).features, "z", "z_q"}
    return found


@pytest.mark.parametrize("name", [n for n in WITH_MODEL if n.startswith("image/") and not n.endswith("-debug")])
@pytest.mark.filterwarnings("ignore::tokenzoo.train.files.NotValidated")
def test_its_losses_read_what_its_family_offers(name, offered):
    run = load_run(name, ["data.train=x"])
    for loss in run.losses.values():
        for key in ("feature", "target"):
            read = getattr(loss, key, None)
            if read and not (key == "target" and getattr(loss, "teacher", None)):
                names = offered[run.model.family]
                assert read in names or any(n.startswith(read[:-1]) for n in names if read.endswith("*")), (loss, names)


@pytest.mark.parametrize("name", bundled_names())
def test_its_header_names_its_command(name):
    lines = find(name).read_text().splitlines()
    header = lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))]
    called = r"--from \S+" if name not in WITH_MODEL else rf"(configs/)?{re.escape(name)}(\.yaml)?"
    command = rf"tokenzoo[ .]train {called}( |$)"
    assert any(re.search(command, line) for line in header), f"the header of {name} does not say how to run it"


#: "owner/name @ 0123abc" in a header, also over the end of a line: the repository whose numbers the file has.
REPOSITORY = re.compile(r"\b[\w.-]+/[\w.-]+ @\s+(# )?[0-9a-f]{7,40}\b")


def of_authors():
    """Names of the recipes of images and audio whose headers name a repository."""
    names = [n for n in bundled_names() if n.startswith(("image/", "audio/")) and not n.endswith("-debug")]
    return [n for n in names if REPOSITORY.search(header(find(n)))]


def header(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    return "\n".join(lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))])


def stated(path):
    """What a run file states in its own lines and in those of the recipes that it builds on, without the shared `_` files."""
    own = yaml.safe_load(path.read_text(encoding="utf-8"))
    base = own.pop("base", None)
    parent = {} if base is None or base.startswith("_") else stated(path.parent / base)
    return merge(parent, own)


@pytest.mark.parametrize("name", of_authors())
def test_a_recipe_with_an_authors_name_states_what_shared_files_would_decide(name):
    """Numbers inherited from a shared file are this project's; under an author's name they would pass for the author's."""
    found = stated(find(name))
    assert {"ema", "balance", "precision"} <= found.keys()
    assert "decay" in found["ema"] and "kind" in found["balance"]
    wanted = {"kind", "lr", "betas", "weight_decay", "schedule"}
    assert wanted <= found["optimizer"].keys()
    if any(loss.needs_discriminators for loss in load_run(name, ["data.train=x", "data.valid=[]"]).losses.values()):
        assert wanted <= found["discriminator_optimizer"].keys()


def test_most_recipes_name_the_repository_of_their_numbers():
    names = of_authors()
    assert {"image/llamagen-vq16", "image/dualtoken-256", "image/titok-l32-stage2"} <= set(names)
    assert "image/photo-f16-rvq7" not in names


def test_a_model_that_does_not_exist_is_found_before_it_is_built():
    with pytest.raises(ConfigError, match=r"model\.config\.seanet\.widht"):
        load_run("audio/mimi", ["data.train=x", "model.config.seanet={widht: 8}"])


#: Families without a run: there is nothing to train.
ONLY_ENCODE = {"vqtoken"}


def test_every_family_has_a_debug_run():
    debug = {load_run(name).model.family for name in bundled_names() if name.endswith("-debug")}
    assert set(FAMILIES.names()) - ONLY_ENCODE == debug
