"""Linear maps over the channel axis of `[B, D, L]`, for quantizers whose width differs from that of the latents."""

from torch import Tensor, nn

from ...config import ConfigError
from .rows import from_rows, steady_linear, to_rows


class ChannelLinear(nn.Linear):
    """`nn.Linear` over axis 1, `[B, D, L] -> [B, n, L]`; an item's result does not depend on the rest of the batch."""

    def forward(self, z: Tensor) -> Tensor:
        return from_rows(steady_linear(to_rows(z), self.weight, self.bias), z)


def projections(dim: int, width: int, project: bool | None) -> tuple[nn.Module, nn.Module]:
    """Return `(in_proj, out_proj)` between latents of `dim` and a quantizer of `width` channels.

    Args:
        dim: D of the latents.
        width: channels that the quantizer itself works on.
        project: True always, False never, None only where the two differ (otherwise both are `nn.Identity`).

    Raises:
        ConfigError: the widths differ and `project` is False.
    """
    if project is False and dim != width:
        raise ConfigError(f"project is False, but latents are {dim} wide and the quantizer {width}; set it to null.")
    if project or (project is None and dim != width):
        return ChannelLinear(dim, width), ChannelLinear(width, dim)
    return nn.Identity(), nn.Identity()
