"""Key tables of DAC's blocks, in the authors' numbered layers and in transformers' names; SNAC, X-codec and others reuse them."""

from .keymap import Each, Row, pointwise

#: `quantizer.quantizers.{}` of DAC, its copy in transformers and SNAC.
QUANTIZER: tuple[Row, ...] = (
    ("quantizer.quantizers.{}.{in_proj|out_proj}.*", "quantizer.levels.{}.{in_proj|out_proj}.*"),
    ("quantizer.quantizers.{}.codebook.weight", "quantizer.levels.{}.codebook.embed"),
)


def linear_projections(*patterns: str) -> Each:
    """The quantizer's convolutions of 1 are linear maps here."""
    return pointwise(*(patterns or ("quantizer.levels.{}.{in_proj|out_proj}.weight",)))


def unit(theirs: str, ours: str) -> list[Row]:
    """One residual unit: `{theirs}.block.0` Snake, 1 dilated convolution, 2 Snake, 3 convolution of 1."""
    return [
        (f"{theirs}.block.0.alpha", f"{ours}.act_in.alpha"),
        (f"{theirs}.block.1.*", f"{ours}.conv_in.*"),
        (f"{theirs}.block.2.alpha", f"{ours}.act_out.alpha"),
        (f"{theirs}.block.3.*", f"{ours}.conv_out.*"),
    ]


def down(theirs: str, ours: str) -> list[Row]:
    """One level of the encoder: three units, Snake, strided convolution."""
    units = [row for j in range(3) for row in unit(f"{theirs}.block.{j}", f"{ours}.units.{j}")]
    return [*units, (f"{theirs}.block.3.alpha", f"{ours}.act.alpha"), (f"{theirs}.block.4.*", f"{ours}.conv.*")]


def up(theirs: str, ours: str, *, noise: bool = False) -> list[Row]:
    """One level of the decoder: Snake, transposed convolution, noise block where there is one, three units."""
    first = 3 if noise else 2
    units = [row for j in range(3) for row in unit(f"{theirs}.block.{first + j}", f"{ours}.units.{j}")]
    return [
        (f"{theirs}.block.0.alpha", f"{ours}.act.alpha"),
        (f"{theirs}.block.1.*", f"{ours}.conv.*"),
        *([(f"{theirs}.block.2.linear.weight", f"{ours}.noise.gain.weight")] if noise else []),
        *units,
    ]


def encoder(downs: int, theirs: str = "encoder", ours: str = "encoder") -> list[Row]:
    """DAC's encoder with `downs` levels."""
    return [
        (f"{theirs}.block.0.*", f"{ours}.stem.*"),
        *(row for i in range(downs) for row in down(f"{theirs}.block.{i + 1}", f"{ours}.levels.{i}")),
        (f"{theirs}.block.{downs + 1}.alpha", f"{ours}.act.alpha"),
        (f"{theirs}.block.{downs + 2}.*", f"{ours}.head.*"),
    ]


def decoder(ups: int, theirs: str = "decoder", ours: str = "decoder") -> list[Row]:
    """DAC's decoder with `ups` levels."""
    return [
        (f"{theirs}.model.0.*", f"{ours}.stem.*"),
        *(row for i in range(ups) for row in up(f"{theirs}.model.{i + 1}", f"{ours}.levels.{i}")),
        (f"{theirs}.model.{ups + 1}.alpha", f"{ours}.act.alpha"),
        (f"{theirs}.model.{ups + 2}.*", f"{ours}.head.*"),
    ]


def transformers_side(side: str, theirs: str | None = None, ours: str | None = None) -> list[Row]:
    """One side of transformers' `DacModel`; `side` is "encoder" or "decoder", which names its strided convolution."""
    theirs, ours = theirs or side, ours or side
    conv = "conv1" if side == "encoder" else "conv_t1"
    names = (("snake1", "act_in"), ("conv1", "conv_in"), ("snake2", "act_out"), ("conv2", "conv_out"))
    return [
        (f"{theirs}.conv1.*", f"{ours}.stem.*"),
        (f"{theirs}.snake1.alpha", f"{ours}.act.alpha"),
        (f"{theirs}.conv2.*", f"{ours}.head.*"),
        (f"{theirs}.block.{{}}.snake1.alpha", f"{ours}.levels.{{}}.act.alpha"),
        (f"{theirs}.block.{{}}.{conv}.*", f"{ours}.levels.{{}}.conv.*"),
        *(
            (f"{theirs}.block.{{}}.res_unit{j + 1}.{a}.*", f"{ours}.levels.{{}}.units.{j}.{b}.*")
            for j in range(3)
            for a, b in names
        ),
    ]
