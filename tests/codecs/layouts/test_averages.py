"""Files with averaged and raw weights, different: the averaged ones are taken, as the authors' loaders do.

    pytest tests/codecs/layouts/test_averages.py
"""

import pytest
import torch
from audio_cases import shake
from layout_options import all_sweeps
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.zoo.convert import convert, converter
from wrapped_states import average_beside, lightning_average

SWEEPS = all_sweeps()
#: system -> how its trainer saves both.
BOTH = {
    "taming-vqgan": lightning_average,  # of latent-diffusion's trainer
    "ibq": lightning_average,
    "open-magvit2": lightning_average,
    "wetok": lightning_average,
    "llamagen": average_beside,
    "iter": lambda state: average_beside(state, "params_ema", "params"),
    "karl": average_beside,
    "alit": average_beside,
    "retok": average_beside,
    "gigatok": average_beside,
    "bsq-vit": lambda state: average_beside(state, "ema_state_dict", "state_dict"),
}


@pytest.mark.parametrize("system", BOTH)
def test_averaged_weights_win(system):
    layout, theirs = converter(system), SWEEPS[system].tiny
    own = layout.own_config(theirs)
    tok = shake(build_tokenizer(layout.family_for(own), own))
    loaded = convert(system, theirs, BOTH[system](layout.write(tok.state_dict(), own))).state_dict()
    for name, value in tok.state_dict().items():
        if not name.endswith((".counts", ".sums", ".ready", ".steps")):
            assert torch.equal(loaded[name], value), name
