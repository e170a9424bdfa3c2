"""Every bundled `*-debug` run trains: two steps on made-up media.

    pytest -m slow tests/train/test_debug_runs.py
"""

import json
import math

import pytest
from tokenzoo.codecs.serialize import load_folder
from tokenzoo.train.files import bundled_names, load_run, read_mapping
from tokenzoo.train.loop import train
from train_media import write_features, write_pictures, write_sounds

DEBUG = [name for name in bundled_names() if name.endswith("-debug")]


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    pictures = write_pictures(folder / "image", 4, size=(300, 300))
    sounds = write_sounds(folder / "audio", 4, seconds=2.0, rate=16000)
    return {"images": pictures, "audio": sounds, "features": write_features(folder / "features", 4, channels=8)}


def test_there_is_one_for_each_modality():
    assert {name.partition("/")[0] for name in DEBUG} == {"image", "audio"}


@pytest.mark.slow
@pytest.mark.parametrize("name", DEBUG)
def test_debug_run_trains(name, media, tmp_path):
    folder = media[read_mapping(name)["data"]["kind"]]
    changes = [f"data.train={folder}", f"output={tmp_path}", "steps=2", "every.log=1", "every.validate=0"]
    changes += ["every.preview=0", "tensorboard=false", "device=cpu", "data.num_workers=0"]
    result = train(load_run(name, changes))
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").open()]
    assert [math.isfinite(row["loss/total"]) for row in rows] == [True, True]
    assert rows[-1]["grad_norm"] > 0
    load_folder(result.model)
