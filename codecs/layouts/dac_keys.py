"""Key tables of DAC's blocks, in the authors' numbered layers and in transformers' names; SNAC, X-codec and others reuse them."""

from collections.abc import Callable

from .keymap import Each, Row, pointwise

#: Function that returns the rows of one activation for its two prefixes (theirs, ours).
Act = Callable[[str, str], list[Row]]

#: The layers of a residual unit, numbered as most authors have them or named as in transformers, and our names.
SNAKE_UNIT = (("block.0", "act_in"), ("block.1", "conv_in"), ("block.2", "act_out"), ("block.3", "conv_out"))
NAMED_SNAKE_UNIT = (("snake1", "act_in"), ("conv1", "conv_in"), ("snake2", "act_out"), ("conv2", "conv_out"))

#: Rows of the quantizer of DAC, its copy in transformers and SNAC.
QUANTIZER: tuple[Row, ...] = (
    ("quantizer.quantizers.{}.{in_proj|out_proj}.*", "quantizer.levels.{}.{in_proj|out_proj}.*"),
    ("quantizer.quantizers.{}.codebook.weight", "quantizer.levels.{}.codebook.embed"),
)


def linear_projections(*patterns: str) -> Each:
    """Step for the quantizer's convolutions of width 1, which are linear maps here: `[o, i, 1]` to `[o, i]`."""
    return pointwise(*(patterns or ("quantizer.levels.{}.{in_proj|out_proj}.weight",)))


def snake(theirs: str, ours: str) -> list[Row]:
    """Row of a `Snake` activation, which has one weight."""
    return [(f"{theirs}.alpha", f"{ours}.alpha")]


def snake_without_aliases(theirs: str, ours: str) -> list[Row]:
    """Rows of BigVGAN's activation: `act` between two resamplers, whose fixed filters are dropped and computed here."""
    filters = f"{theirs}.{{upsample|downsample.lowpass}}.filter"
    return [(f"{theirs}.act.{{alpha|beta}}", f"{ours}.activation.{{alpha|beta}}"), (filters, None)]


def unit(
    theirs: str, ours: str, *, act: Act = snake, layers: tuple[tuple[str, str], ...] = SNAKE_UNIT
) -> list[Row]:
    """Rows of one residual unit: activation, dilated convolution, activation, convolution of width 1.

    Args:
        theirs, ours: prefixes of the unit.
        act: function for the rows of its activations.
        layers: the authors' names of the four layers, each with ours.
    """
    rows: list[Row] = []
    for a, b in layers:
        theirs_layer, ours_layer = f"{theirs}.{a}", f"{ours}.{b}"
        rows += act(theirs_layer, ours_layer) if b.startswith("act") else [(f"{theirs_layer}.*", f"{ours_layer}.*")]
    return rows


def down(theirs: str, ours: str) -> list[Row]:
    """Rows of one level of the encoder: three units, Snake, strided convolution."""
    units = [row for j in range(3) for row in unit(f"{theirs}.block.{j}", f"{ours}.units.{j}")]
    return [*units, (f"{theirs}.block.3.alpha", f"{ours}.act.alpha"), (f"{theirs}.block.4.*", f"{ours}.conv.*")]


def up(theirs: str, ours: str, *, noise: bool = False) -> list[Row]:
    """Rows of one level of the decoder: Snake, transposed convolution, a noise block if `noise`, three units."""
    first = 3 if noise else 2
    units = [row for j in range(3) for row in unit(f"{theirs}.block.{first + j}", f"{ours}.units.{j}")]
    return [
        (f"{theirs}.block.0.alpha", f"{ours}.act.alpha"),
        (f"{theirs}.block.1.*", f"{ours}.conv.*"),
        *([(f"{theirs}.block.2.linear.weight", f"{ours}.noise.gain.weight")] if noise else []),
        *units,
    ]


def encoder(downs: int, theirs: str = "encoder", ours: str = "encoder") -> list[Row]:
    """Rows of DAC's encoder with `downs` levels."""
    return [
        (f"{theirs}.block.0.*", f"{ours}.stem.*"),
        *(row for i in range(downs) for row in down(f"{theirs}.block.{i + 1}", f"{ours}.levels.{i}")),
        (f"{theirs}.block.{downs + 1}.alpha", f"{ours}.act.alpha"),
        (f"{theirs}.block.{downs + 2}.*", f"{ours}.head.*"),
    ]


def decoder(ups: int, theirs: str = "decoder", ours: str = "decoder") -> list[Row]:
    """Rows of DAC's decoder with `ups` levels."""
    return [
        (f"{theirs}.model.0.*", f"{ours}.stem.*"),
        *(row for i in range(ups) for row in up(f"{theirs}.model.{i + 1}", f"{ours}.levels.{i}")),
        (f"{theirs}.model.{ups + 1}.alpha", f"{ours}.act.alpha"),
        (f"{theirs}.model.{ups + 2}.*", f"{ours}.head.*"),
    ]


def transformers_side(side: str, theirs: str | None = None, ours: str | None = None, *, act: Act = snake) -> list[Row]:
    """Rows of the encoder or decoder of transformers' `DacModel`; `side` is "encoder" or "decoder"."""
    theirs, ours = theirs or side, ours or side
    level, own, conv = f"{theirs}.block.{{}}", f"{ours}.levels.{{}}", "conv1" if side == "encoder" else "conv_t1"
    units = (unit(f"{level}.res_unit{j + 1}", f"{own}.units.{j}", act=act, layers=NAMED_SNAKE_UNIT) for j in range(3))
    return [
        (f"{theirs}.conv1.*", f"{ours}.stem.*"),
        *act(f"{theirs}.snake1", f"{ours}.act"),
        (f"{theirs}.conv2.*", f"{ours}.head.*"),
        *act(f"{level}.snake1", f"{own}.act"),
        (f"{level}.{conv}.*", f"{own}.conv.*"),
        *(row for rows in units for row in rows),
    ]
