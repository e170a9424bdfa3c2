"""Every registered family in tiny form, for `test_contract.py`: those of sound, of pictures, and those of neither."""

from families_audio import AUDIO
from families_image import IMAGE
from quantizers_tiny import FACTORISED

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "latent": ("latent", {"dim": 6, "quantizer": FACTORISED, "alternatives": {"scalar": {"kind": "scalar"}}}),
    **AUDIO,
    **IMAGE,
}
