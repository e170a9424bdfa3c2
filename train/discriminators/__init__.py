"""Discriminators by name. A new one is one file here and one line in this table."""

# kind -> "module:config class"
DISCRIMINATORS: dict[str, str] = {
    "patchgan": "patchgan:PatchGanConfig",
    "multi_period": "multi_period:MultiPeriodConfig",
    "multi_scale": "multi_scale:MultiScaleConfig",
    "multi_resolution_stft": "multi_resolution_stft:MultiResolutionStftConfig",
    "multi_scale_stft": "multi_scale_stft:MultiScaleStftConfig",
}


def kinds() -> tuple[str, ...]:
    """All names that `discriminators: {NAME: {kind: ...}}` takes."""
    return tuple(sorted(DISCRIMINATORS))
