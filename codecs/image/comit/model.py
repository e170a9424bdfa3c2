"""COMiT: a message of N tokens that is written crop by crop, by the transformer that also draws the picture from it.

Davtyan et al. 2026, "Communication-Inspired Tokenization for Structured Image Representations", arXiv 2602.20731.
Network and use follow Araachie/comit @ 9090c07 (Apache-2.0, parts CC BY-NC 4.0 and Apple Sample Code License), class `COMiT`; with
random weights its ids are equal. Its training is not public: of the paper the abstract was read (flow matching, alignment with a
semantic teacher, encoder and decoder in one network), and everything marked "own choice" below is this project's. Own code.

A frozen AutoencoderKL encodes crops `[B, 3, h, w]` of a picture `[B, 3, H, W]` to VAE latents. Encoding: m_0 is one fixed code at all
positions; for k = 1..K: m_k = FSQ(head(T(m_{k-1}, crop_k, place_k))), ids `[B, 1, N]` of m_K. Decoding: T predicts the velocity of a
rectified flow that leads from noise to the VAE latents of the whole picture, under m_K; the VAE decodes them to pixels.

    tokens = comit.encode("cat.jpg", crops=[(0, 0, 256, 256), (32, 96, 96, 96)])    # (top, left, height, width)
    tokens = comit.update(tokens, "cat.jpg", (160, 0, 96, 96))                      # one crop more
    comit.decode(tokens, steps=10, guidance=7.5, normalized_guidance=True, seed=1)

Differs: `encode` takes the mean of the VAE's posterior where the authors sample, so that ids are a function of the picture.

Letters: B batch, H W pixels, h w grid of VAE latents, C their channels, N message tokens, d their channels, K crops, D width.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ...coding import Batch
from ...config import ConfigError
from ...layers.rectified_flow import draw_step
from ...media import Prepared, as_pictures
from ...options import ImageEncodeOptions, check_at_least
from ...quantizers.base import Quantized, QuantizerConfig
from ...quantizers.fsq import FSQConfig
from ...spec import ImageSpec
from ...tokenizer import Reconstruction
from ...tokens import Tokens
from ..flow_decoded import SD_VAE, FlowDecoded, FlowDecodeOptions, vae_stride
from .crops import Box, Crop, checked_boxes, drawn_crops, usual_boxes
from .network import MessageTransformer, MessageTransformerConfig


@dataclass(frozen=True, kw_only=True)
class COMiTConfig:
    """Settings of `COMiT`; sizes default to COMiT-B.

    Attributes:
        image_size: (H, W) of the pictures in pixels.
        vae: arguments of diffusers' `AutoencoderKL`.
        vae_scale: factor on the VAE's latents.
        sample_posterior: training draws VAE latents from the posterior; ids never depend on it.
        network: settings of the transformer.
        num_tokens: N.
        latent_dim: d, channels that are quantized.
        quantizer: settings of any quantizer; its `dim` is filled in from `latent_dim`.
        crop_size: side in pixels of a crop, in training and by default in use.
        crop_grid: where `encode` is given no crops, it reads the whole picture and then this many crops along each side, row by row.
        places: what the place that goes with a crop means. "absolute": its centre, from the middle of the picture. "relative": its
            centre, from that of the crop before (0 for the first one); the message then refers to its last crop, which `decode` and
            `update` have to know (`last_crop`). The published networks are "relative". Own choice: "absolute", for which tokens
            alone suffice.
        train_crops: training reads 1 to this many crops, in each batch another number. Own choice.
        whole_first: probability with which training's first crop is the whole picture. Own choice.
        gradient_crops: gradients reach this many of the last readings, the messages before them are constants; 0: all. Own choice.
        null_probability: share of training items that are drawn under m_0, for guidance. Own choice.
        feature_layer: block of the transformer whose states, under noise, are returned as features for a loss like REPA's
            (arXiv 2410.06940), 0 for the first; None: none. The authors' class: 8.
        train_pixels: training decodes the VAE latents of its one-step estimate to pixels; False returns the latents, which saves
            time if no loss is computed on pixels.
        time_sampling: distribution of training times. Own choice.
    """

    image_size: tuple[int, int] = (256, 256)
    vae: dict[str, Any] = field(default_factory=lambda: dict(SD_VAE))
    vae_scale: float = 0.18215
    sample_posterior: bool = True
    network: MessageTransformerConfig = MessageTransformerConfig()
    num_tokens: int = 256
    latent_dim: int = 6
    quantizer: QuantizerConfig = FSQConfig(levels=(8, 8, 8, 5, 5, 5))
    crop_size: int = 96
    crop_grid: int = 3
    places: Literal["absolute", "relative"] = "absolute"
    train_crops: int = 4
    whole_first: float = 0.5
    gradient_crops: int = 1
    null_probability: float = 0.1
    feature_layer: int | None = None
    train_pixels: bool = True
    time_sampling: Literal["logit_normal", "uniform"] = "logit_normal"

    def __post_init__(self) -> None:
        if any(n % self.step for n in self.image_size):
            raise ConfigError(f"image_size is {self.image_size}; both sides must be multiples of {self.step}, a patch in pixels.")
        if self.crop_size % self.step or not self.step <= self.crop_size <= min(self.image_size):
            raise ConfigError(f"crop_size is {self.crop_size}; allowed: multiples of {self.step} up to {min(self.image_size)}.")
        for name, least in (("num_tokens", 1), ("crop_grid", 1), ("train_crops", 1), ("gradient_crops", 0)):
            check_at_least(name, getattr(self, name), least)
        for name in ("whole_first", "null_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it is a probability, 0 to 1.")
        check_at_least("feature_layer", self.feature_layer, 0, self.network.layers - 1)

    @property
    def step(self) -> int:
        """Pixels of a patch along each side; sides of pictures and crops are multiples of it."""
        return vae_stride(self.vae) * self.network.patch_size

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of patches of a whole picture."""
        return self.image_size[0] // self.step, self.image_size[1] // self.step

    @property
    def boxes(self) -> tuple[Box, ...]:
        """The crops that `encode` reads by default."""
        return usual_boxes(self.image_size, self.crop_size, self.crop_grid)


@dataclass(frozen=True, kw_only=True)
class COMiTEncodeOptions(ImageEncodeOptions):
    """Options of `COMiT.encode`.

    Attributes:
        crops: what is read, in order: (top, left, height, width) in pixels of the picture after it was brought to
            `spec.image_size`; sides are multiples of the patch. None: the whole picture, then a grid of crops.
        num_crops: read only this many of the crops, from the first on; None: all.
    """

    crops: tuple[tuple[int, int, int, int], ...] | None = None
    num_crops: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("num_crops", self.num_crops, 1)


@dataclass(frozen=True, kw_only=True)
class COMiTDecodeOptions(FlowDecodeOptions):
    """Options of `COMiT.decode`.

    Attributes:
        last_crop: the crop, (top, left, height, width), that was read last, where the config's `places` is "relative"; None: the last
            one of the usual crops. Has no effect where it is "absolute".
    """

    last_crop: tuple[int, int, int, int] | None = None


class COMiT(FlowDecoded):
    """Pictures of one size to a message of N tokens and back; see the module's docstring."""

    family: ClassVar[str] = "comit"
    config_class: ClassVar[type] = COMiTConfig
    encode_options = COMiTEncodeOptions
    decode_options = COMiTDecodeOptions
    encoder_only = ("vae.encoder", "vae.quant_conv", "network.message_head")
    decoder_only = ("vae.decoder", "vae.post_quant_conv", "network.velocity_head", "network.velocity_modulation")

    def __init__(self, config: COMiTConfig) -> None:
        super().__init__()
        self.config = c = config
        channels = self._start_vae(c.vae, scale=c.vae_scale, image_size=c.image_size)
        self.network = MessageTransformer(
            c.network, channels=channels, grid=c.grid, num_tokens=c.num_tokens, latent_dim=c.latent_dim
        )
        self.quantizer = c.quantizer.build(dim=c.latent_dim)
        self.spec = ImageSpec.of(
            self.quantizer, prefix=(), stride=0, image_size=c.image_size, num_positions=c.num_tokens, resize="crop"
        )

    # --- reading ----------------------------------------------------------------------------------------------------

    def first_message(self, batch: int) -> Tensor:
        """m_0 `[B, d, N]`: at all positions the code whose number is half the vocabulary."""
        ids = torch.tensor([[[v // 2] for v in self.quantizer.codebook_sizes]], device=self.device)
        return self.vectors_of(ids).expand(batch, -1, self.config.num_tokens)

    def read(
        self, x: Tensor, crops: Sequence[Crop], *, message: Tensor | None = None, last: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Read crops of pictures into a message.

        Args:
            x: pictures `[B, 3, H, W]`.
            crops: K of them, in order.
            message: quantized vectors `[B, d, N]` to go on from; None: m_0.
            last: centre `[B, 2]` of the crop that it saw last; None: it saw none.

        Returns:
            m_K before it is quantized, `[B, d, N]`, and the centre `[B, 2]` of the last crop.
        """
        c, z = self.config, torch.empty(0)
        message = self.first_message(len(x)) if message is None else message
        kept = len(crops) - (c.gradient_crops or len(crops))
        for k, crop in enumerate(crops):
            centre = crop.centres(c.image_size).to(x).expand(len(x), -1)
            place = centre if c.places == "absolute" else centre - (centre if last is None else last)
            with torch.set_grad_enabled(torch.is_grad_enabled() and k >= kept):
                message = message if k == 0 else self._quantized(z)
                z = self._write(crop.cut(x), message, place)
            last = centre
        assert last is not None  # there is a crop at least
        return z, last

    def _write(self, crop: Tensor, message: Tensor, place: Tensor) -> Tensor:
        """The message `[B, d, N]` before it is quantized, after a crop `[B, 3, h, w]`."""
        latents = self.vae_encode(crop, sample=self.training and torch.is_grad_enabled() and self.config.sample_posterior)
        return self.network.write(latents, message.transpose(1, 2), place).transpose(1, 2)

    def _quantized(self, z: Tensor) -> Tensor:
        """The message `[B, d, N]` between two crops; running statistics of a codebook move in training's forward pass alone."""
        if self.training and torch.is_grad_enabled():
            return self.quantizer(z).z_q.to(z.dtype)
        return self.vectors_of(self.quantizer.encode(z))

    def encode_latents(self, x: Tensor) -> Tensor:
        """The message `[B, d, N]`, before it is quantized, of the usual crops of pictures `[B, 3, H, W]`."""
        return self.read(x, [Crop.of(box) for box in self.config.boxes])[0]

    def boxes_of(self, options: COMiTEncodeOptions) -> tuple[Box, ...]:
        """The crops that these options name; raises ConfigError for one that the picture or the network does not allow."""
        boxes = self.config.boxes
        if options.crops is not None:
            boxes = checked_boxes(options.crops, self.config.image_size, self.config.step)
        return boxes[: options.num_crops]

    def prepare_media(self, media: Any, options: Any) -> list[Prepared]:
        """As every image family; the crops are checked before anything is read."""
        self.boxes_of(options)
        return super().prepare_media(media, options)

    def latents_of(self, x: Tensor, batch: Batch) -> Tensor:
        """The message `[B, d, N]`, before it is quantized, of the crops that the options name."""
        return self.read(x, [Crop.of(box) for box in self.boxes_of(batch.options)])[0]

    @torch.no_grad()
    def update(
        self,
        tokens: Tokens,
        media: Any,
        crop: Box,
        *,
        media_are: Literal["pictures", "crops"] = "pictures",
        last_crop: Box | None = None,
    ) -> Tokens:
        """Read one crop more into messages.

        Args:
            tokens: messages of B pictures, from `encode` or `update`.
            media: these pictures, in any form that `encode` takes; or the crops cut out of them.
            crop: (top, left, height, width), as in the option `crops`.
            media_are: whether `media` are the whole pictures or their crops, of exactly the crop's size.
            last_crop: the crop that the messages saw last, as in `decode`.

        Returns:
            New messages; `encode` of all crops in one go gives the same.

        Raises:
            ValueError: another number of media than messages, tokens of another tokenizer, a crop outside the picture, crops of
                another size.
        """
        tokens, (box,) = self.check_ids(tokens), checked_boxes([crop], self.config.image_size, self.config.step)
        if media_are == "pictures":
            pictures = [item.x for item in self.prepare(media)]
        elif media_are == "crops":
            pictures = self._given_crops(media, box)
        else:
            raise ConfigError(f"media_are is {media_are!r}; allowed: 'pictures', 'crops'.")
        if len(pictures) != len(tokens):
            raise ValueError(f"got {len(pictures)} media for {len(tokens)} messages; give one for each message.")
        x = torch.stack(pictures).to(self.device, self.dtype)
        cut = Crop.of(box) if media_are == "pictures" else Crop.of((0, 0, *box[2:]))
        centre = Crop.of(box).centres(self.config.image_size).to(x).expand(len(x), -1)
        place = centre - self._last_centre(last_crop, x) if self.config.places == "relative" else centre
        z = self._write(cut.cut(x), self.vectors_of(tokens.ids.to(self.device)), place)
        return dataclasses.replace(tokens, ids=self.quantizer.encode(z)).made_by(self.identity)

    def _given_crops(self, media: Any, box: Box) -> list[Tensor]:
        """Pictures that are crops already, `[3, h, w]` each."""
        pictures = as_pictures(media, self.spec.value_range)
        for x in pictures:
            if tuple(x.shape[-2:]) != box[2:]:
                raise ValueError(
                    f"a crop has {x.shape[-2]} x {x.shape[-1]} pixels, but {box} has {box[2]} x {box[3]}; "
                    'cut it to this size, or pass the whole picture with media_are="pictures".'
                )
        return pictures

    def _last_centre(self, box: Box | None, x: Tensor) -> Tensor:
        """Centre `[B, 2]` of the crop that was read last."""
        c = self.config
        last = c.boxes[-1] if box is None else checked_boxes([box], c.image_size, c.step)[0]
        return Crop.of(last).centres(c.image_size).to(x).expand(len(x), -1)

    # --- drawing ----------------------------------------------------------------------------------------------------

    def condition_of(self, batch: Batch) -> dict[str, Any]:
        """Further arguments of `velocity`: the crop that was read last."""
        return {"last_crop": batch.options.last_crop}

    def velocity(self, x: Tensor, t: Tensor, z_q: Tensor, *, null: bool = False, last_crop: Box | None = None) -> Tensor:
        """Velocity `[B, C, h, w]` of noised VAE latents at times `[B]` under messages `[B, d, N]`; `last_crop` as in `decode`."""
        message = self.first_message(len(x)) if null else z_q
        place = self._place_of_whole(self._last_centre(last_crop, x))
        return self.network.velocity(x, t, message.transpose(1, 2), place)[0]

    def _place_of_whole(self, last: Tensor) -> Tensor:
        """Place `[B, 2]` of the whole picture for messages whose last crop has this centre."""
        return -last if self.config.places == "relative" else torch.zeros_like(last)

    # --- training ---------------------------------------------------------------------------------------------------

    def forward(self, x: Tensor) -> Reconstruction:
        """In eval mode `encode` and `decode` of `[B, 3, H, W]`. In training random crops, then one step of the flow at random times.

        `features` are `velocity` and `velocity_target` `[B, C, h, w]` of such a step (in eval mode always the same one), whose
        squared distance is the loss; and with a `feature_layer` `patches` `[B, D, patches]` and `message` `[B, D, N]`, the states
        there, and `summary` `[B, D, 1]`, the mean of the latter. Training's `x_hat` is the VAE's picture of the one-step estimate, or
        this estimate `[B, C, h, w]` itself without `train_pixels`.
        """
        c = self.config
        if not self.training:
            crops = [Crop.of(box) for box in c.boxes]
        else:
            crops = drawn_crops(len(x), c.image_size, side=c.crop_size, most=c.train_crops, whole_first=c.whole_first)
        z, last = self.read(x, crops)
        quantized = self.quantizer(z)
        estimate, features = self._one_step(x, quantized, last)
        if not self.training:
            x_hat = self.decode_latents(quantized.z_q)
        else:
            x_hat = self.vae_decode(estimate) if c.train_pixels else estimate
        return Reconstruction(x_hat=x_hat, z=z, quantized=quantized, features=features)

    def _one_step(self, x: Tensor, quantized: Quantized, last: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The estimate of VAE latents `[B, C, h, w]` from noised ones, and `forward`'s features."""
        c = self.config
        clean = self.vae_encode(x, sample=self.training and c.sample_posterior)
        step = draw_step(clean, kind=c.time_sampling, fixed=not self.training)
        message = quantized.z_q.to(x.dtype)
        if self.training and c.null_probability:
            dropped = torch.rand(len(x), 1, 1) < c.null_probability
            message = torch.where(dropped.to(x.device), self.first_message(len(x)), message)
        v, states = self.network.velocity(
            step.x, step.t, message.transpose(1, 2), self._place_of_whole(last), layer=c.feature_layer
        )
        features = {"velocity": v, "velocity_target": step.target}
        if states is not None:
            patches, tokens = states
            features |= {"patches": patches.transpose(1, 2), "message": tokens.transpose(1, 2), "summary": tokens.mean(1)[..., None]}
        return step.estimate(v), features
