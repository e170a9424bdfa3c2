"""What decoders around diffusers' networks share: schedulers that draw nothing, plain configs, a VAE that stays in float32."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..config import ConfigError
from ..precision import KeepsDtype, float32_by_default

#: The schedulers of diffusers whose steps draw no random numbers, as far as decoders here were compared with pipelines.
SCHEDULERS = ("DDIMScheduler", "PNDMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler")


def new_scheduler(settings: Mapping[str, Any]) -> Any:
    """A scheduler of diffusers, of its `kind` and arguments; a new one for each call, since schedulers keep state from step to step."""
    import diffusers

    own = dict(settings)
    with float32_by_default():
        return getattr(diffusers, own.pop("kind")).from_config(own)


def plain_config(config: Any) -> dict[str, Any]:
    """A diffusers config without the keys that describe only the file."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in dict(config).items() if not k.startswith("_")}


class Float32VAE(KeepsDtype):
    """A frozen `AutoencoderKL` that computes in float32 in a model of any type: those of SDXL and FLUX overflow in float16.

    Args:
        arguments: of diffusers' class.

    Raises:
        ConfigError: arguments with `latents_mean` or `latents_std`.
    """

    net: Any  # diffusers' type annotations: a dict for its config, a tuple for the results of encode and decode

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        super().__init__()
        from diffusers import AutoencoderKL

        self.net = AutoencoderKL(**arguments).eval().requires_grad_(False)
        own = self.net.config
        if own.latents_mean is not None or own.latents_std is not None:
            raise ConfigError("latents_mean and latents_std of a VAE are not supported here; only scaling_factor and shift_factor.")
        self.scale, self.shift = float(own.scaling_factor or 1.0), float(own.shift_factor or 0.0)
        #: C, channels of the latents, and pixels from one latent to the next.
        self.channels: int = own.latent_channels
        self.stride: int = 2 ** (len(own.block_out_channels) - 1)

    def encode(self, x: Tensor, noise: Tensor) -> Tensor:
        """Latents `[B, C, h, w]` of pictures `[B, 3, H, W]` in -1..1: the posterior's mean and `noise` times its deviation."""
        posterior = self.net.encode(x.float()).latent_dist
        return ((posterior.mean + posterior.std * noise.float() - self.shift) * self.scale).to(x.dtype)

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures `[B, 3, H, W]` in -1..1, not clipped, of latents `[B, C, h, w]`."""
        return self.net.decode(latents.float() / self.scale + self.shift, return_dict=False)[0].to(latents.dtype)
