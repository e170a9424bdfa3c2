"""The table of systems: its commands name models and runs that exist. Run: pytest tests/test_systems.py"""

import re
import shlex
from pathlib import Path

import pytest
import tokenzoo
from tokenzoo.cli.app import app
from tokenzoo.train.files import bundled_names
from tokenzoo.zoo.corpus.lm import BUNDLED as LM_RUNS
from tokenzoo.zoo.registry import cards, list_models
from typer.main import get_command

PAGE = Path(tokenzoo.__file__).parent / "docs/systems.md"
COMMANDS = sorted({m for row in PAGE.read_text().splitlines() if row.startswith("| ") for m in re.findall(r"`(tokenzoo [^`]+)`", row)})


def test_the_page_has_commands():
    assert len(COMMANDS) > 30
    assert {c.split()[1] for c in COMMANDS} <= {*get_command(app).commands}


@pytest.mark.parametrize("command", COMMANDS)
def test_names_exist(command):
    verb, first, *rest = shlex.split(command)[1:]
    if verb in ("train", "lm"):
        assert first in {*bundled_names(), *LM_RUNS}
    elif verb in ("info", "eval"):
        assert first in cards()
    elif verb == "list":
        assert list_models(first)
    else:
        assert verb == "quantize" and "--out" in rest


#: Families whose systems the page names by other words, and this library's own.
OTHERWISE = {
    "kl_tokens", "latent", "convnet", "spectral", "waveform", "speech_units", "fourm", "fourm_maps", "fourm_divae", "fourm_divae_maps",
    "hcodec", "retok", "moss", "longcat", "nemo_codec", "seed2_codes", "unitok_codes", "longcat_next_codes", "glm_image",
}  # fmt: skip


def test_every_family_with_cards_is_on_the_page():
    text = re.sub("[^a-z0-9]", "", PAGE.read_text().lower())
    assert {c.family for c in cards().values() if c.family.replace("_", "") not in text} <= OTHERWISE
