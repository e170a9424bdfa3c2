"""Every family on a device that is not the CPU, though none is here: ids, and how often the host waits for it. Run: pytest THIS -k mimi

The waits of a call may not grow with its items: B transfers a batch are what makes accelerators idle. Where a wait creeps in, the
message names the operator and the line.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import far_device
import pytest
import waiting
from contract_cases import LABELS

pytestmark = pytest.mark.skipif(not far_device.possible(), reason="this PyTorch has no devices written in Python (2.10 has)")
SCRIPT = Path(__file__).parent / "far_device_run.py"
#: Forms that run each time; the others are slow.
SOME = ["convnet", "encodec", "latent", "mimi", "snac", "titok", "vqgan"]
GROUPS = [SOME, *([x for x in LABELS if x not in SOME][i::4] for i in range(4))]
#: Most waits of a call, and of each of its items: `encode` reads the peak of the media, the range of the ids and the fingerprint;
#: `decode` the latter two; a frame of a stream the range of the ids, on both ways.
MOST = {"encode": (3, 0), "decode": (2, 0), "push": (2, 0)}
#: Kaldi's filters, which torchaudio makes for each clip.
KALDI = ("dualcodec", "neucodec", "repcodec", "speech-units-fbanks", "xcodec2")
#: Forms that wait more often.
MORE: dict[str, dict[str, tuple[int, int]]] = {
    **{form: {"encode": (5, 4)} for form in KALDI},
    **{form: {"encode": (9, 6), "decode": (13, 3)} for form in ("flexicodec", "flexicodec-fixed-rate")},  # these, groups of frames
    **{form: {"encode": (4, 0)} for form in LABELS if form.endswith(("-rms", "-segments", "stable_codec"))},  # loudness
    **{form: {"encode": (5, 0), "decode": (4, 0)} for form in ("dualvitok", "dualvitok-pixel", "longcat-next")},  # several grids
    **{form: {"decode": (4, 0)} for form in LABELS if form.startswith(("fourm-divae", "flowmo"))},  # noise
    **{form: {"encode": (8, 0)} for form in LABELS if form.startswith("kanade")},  # voices, checked as ids are
    "bicodec": {"encode": (5, 2), "decode": (5, 0)},  # where the sound of each voice begins
    "comit": {"encode": (14, 0), "decode": (28, 0)},  # one message for each crop; times of the flow
    "flextok": {"decode": (4, 0)},  # noise and times of the flow
    "hcodec-adaptive": {"encode": (9, 0)},  # how many groups the frames form
    "iter": {"encode": (15, 0)},  # which positions are refined
    "karl": {"encode": (6, 0), "decode": (4, 0)},  # how many tokens a picture needs
    "longcat-speech": {"encode": (4, 0)},
    "qwen3_tts": {"decode": (3, 0), "push": (3, 0)},  # quantizers inside a quantizer
    "seed2": {"decode": (15, 0)},  # the scheduler of diffusers
    "sftok": {"decode": (10, 0)},  # noise of each step
    "sftok-vq": {"decode": (4, 0)},
    "uniwetok": {"decode": (3, 0)},
    "vfmtok": {"encode": (5, 0)},
    "vqgan-magvit2": {"decode": (3, 0)},  # noise
    "vqtoken": {"encode": (6, 21)},  # clusters of each picture's own
    "wavtokenizer-experts": {"encode": (6, 0)},  # rows of each expert
    "xcodec-higgs": {"encode": (4, 0)},  # the filter of torchaudio's resampling
}


def lines(*arguments: str) -> list[dict]:
    """What the script prints, in a process of its own."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        timeout=waiting.PATIENCE_SECONDS,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("forms", [pytest.param(g, id=f"group{i}", marks=[pytest.mark.slow] * (i > 0)) for i, g in enumerate(GROUPS)])
def test_ids_are_those_of_the_cpu_and_waits_do_not_grow_with_items(forms):
    found = {row["form"]: row for row in lines(*forms)}
    wrong = []
    for form in forms:
        row = found[form]
        if "error" in row:
            wrong.append(f"{form}: {row['error']} at {row['at']}")
            continue
        if not row["ids"] or row["device"] == "cpu" or row.get("decoded", 0) > 1e-4:
            wrong.append(f"{form}: ids equal: {row['ids']}, on {row['device']}, media differ by {row.get('decoded')}")
        for call, (most, each) in (MOST | MORE.get(form, {})).items():
            # how often the search looks at near-ties is tested with it
            once, twice = ([e for e in row.get(k, []) if "parts/nearest" not in e] for k in (call, f"{call}_twice"))
            if len(once) > most + 3 * each or len(twice) - len(once) > 3 * each:
                wrong.append(f"{form}, {call}: {len(once)} waits for 3 items, {len(twice)} for 6, not {most} + {each} each: {twice}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("levels", [2, 5])
def test_a_training_step_of_a_quantizer_waits_once_whatever_its_levels(levels):
    (row,) = lines("--quantizer", "residual_vq", f"num_codebooks={levels}")
    assert len(row["waits"]) <= 1, row["waits"]
    assert len(row["usage"]) == levels and min(row["usage"]) > 0.3


def test_tokens_know_about_their_items_without_asking_the_device():
    (found,) = lines("--tokens")
    assert not {way: row["wrong"] for way, row in found.items() if row["wrong"]}
    waited = {way: row["waits"] for way, row in found.items() if row["waits"]}
    assert waited == {"first": 1, "back": 1}, "cut lengths come over once, and ids"
    assert found["joined"]["lengths"] == [2, 6, 2, 6, 4] and found["first"]["lengths"] == [2, 3, 3] and found["item"]["lengths"] == [4]
