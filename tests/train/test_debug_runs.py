"""Every bundled `*-debug` run, as it is shipped, on a photograph, a recording or features: its loss falls, its ids tell inputs apart.

    pytest tests/train/test_debug_runs.py              # a tenth of them
    pytest -m slow tests/train/test_debug_runs.py      # the others
"""

import json
import math
from pathlib import Path

import pytest
import torch
from small_runs import write_photo, write_speech
from tokenzoo.codecs.position_statistics import PositionStatistics
from tokenzoo.codecs.serialize import load_folder
from tokenzoo.train.data.loader import collate
from tokenzoo.train.files import bundled_names, load_run, read_mapping
from tokenzoo.train.loop import Trainer
from tokenzoo.train.positions import StepIds
from train_media import write_features, write_maps

DEBUG = [name for name in bundled_names() if name.endswith("-debug")]
#: Runs with captions, for which transformers is loaded; they are among the others.
CAPTIONS = [n for n in DEBUG if any(p["kind"] == "text" for p in read_mapping(n)["data"].get("partners", {}).values())]
#: The slowest, which are among the others too.
SLOWEST = ("audio/bigcodec-debug", "audio/waveform-debug")
TENTH = [name for name in [name for name in DEBUG if name not in CAPTIONS][::10] if name not in SLOWEST]


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    features = write_features(folder / "features", 8, channels=8)
    maps = {
        "classes": write_maps(folder / "classes", classes=5),
        "depth": write_maps(folder / "depth"),
        "feature_maps": write_maps(folder / "feature_maps", channels=8, size=(9, 12)),
    }
    return {"images": write_photo(folder / "image"), "audio": write_speech(folder / "audio"), "features": features} | maps


def test_there_is_one_for_each_modality():
    assert {name.partition("/")[0] for name in DEBUG} == {"image", "audio"}


@pytest.mark.parametrize("name", [n if n in TENTH else pytest.param(n, marks=pytest.mark.slow) for n in DEBUG])
@pytest.mark.filterwarnings("ignore")
def test_debug_run_trains(name, media, tmp_path):
    data = load_run(name).data
    folder = media[Path(str(data.train)).parent.name if data.kind == "maps" else data.kind]
    changes = [f"data.train={folder}", "data.valid=[]", f"output={tmp_path}", "every.log=1", "every.preview=0", "every.validate=0"]
    trainer = Trainer(load_run(name, [*changes, "tensorboard=false", "device=cpu", "data.num_workers=0", "threads=1"]))
    result = trainer.run()
    losses = [json.loads(line)["loss/total"] for line in (tmp_path / "metrics.jsonl").open()]
    assert all(map(math.isfinite, losses)) and len(losses) == result.step
    before, after = sum(losses[:3]) / 3, sum(losses[-3:]) / 3
    found = by_position(trainer)
    alike = float(found.alike.min())
    print(f"{name}: loss {before:.4g} -> {after:.4g}, {alike:.0%} of pairs alike, {float(found.distinct.max()):.1f} ids a position")
    assert after < before
    assert not found.ignored(), f"{alike:.0%} of the pairs of inputs have the same id at a position"
    load_folder(result.model)


def by_position(trainer: Trainer) -> PositionStatistics:
    """Statistics of the ids of 16 crops of the run's data."""
    state = trainer.state
    model, parts = state.best().eval(), []
    for i in range(0, 16, 4):
        batch = collate([trainer.clips[j] for j in range(i, i + 4)])
        with torch.no_grad():
            parts.append(model(batch.x, *state.features(state.objective.targets(batch.x, batch.partners))).quantized.ids)
    found = StepIds(parts[0].shape[1])  # crops may have different numbers of positions
    found.parts = parts
    return found.statistics()
