"""Subcommands that use a tokenizer: encode, decode, reconstruct, demo."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ..zoo.finding import Found, Results, find, other_kind
from .arguments import Codebooks, Device, Dtype, Files, Folder, Model, Moved, Out, Pairs, Positions, Prior, load_model, pairs_of
from .files import each, name_outputs

LOOPBACK = "127.0.0.1"


def encode(
    model: Model,
    files: Files,
    out: Out = Path("tokens"),
    codebooks: Codebooks = None,
    positions: Positions = None,
    option: Pairs = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
    folder: Folder = None,
    prior: Prior = None,
    moved: Moved = None,
) -> None:
    """Encode media files into token files (NAME.tok)."""
    from ..codecs.token_checks import is_clips
    from ..codecs.token_file import prior_of
    from ..zoo.choices import chosen

    tokenizer = load_model(model, device=device, dtype=dtype, folder=folder, part="encoder")
    choice = chosen(tokenizer, pairs_of(option), codebooks=codebooks, positions=positions, verbs=("encode",))
    coder = None if prior is None else prior_of(prior)

    def one(path: Path, target: Path) -> str:
        tokens = choice.encode(tokenizer, path)
        tokens.save(target, prior=coder)
        return f"{shape(tokens)} -> {target}"

    def name(found: Sequence[Found]) -> list[Path]:
        return name_outputs(found, out, ".tok", whole=True)

    def refuse(path: Path) -> str | None:
        return other_kind(path, tokenizer.spec.modality, model, films=is_clips(tokenizer))

    each(media_of(tokenizer, files, Results(out, ".tok")), out, name, one, what="encoding", refuse=refuse)


def decode(
    model: Model,
    files: Files,
    out: Out = Path("decoded"),
    codebooks: Codebooks = None,
    positions: Positions = None,
    option: Pairs = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
    folder: Folder = None,
    prior: Prior = None,
    moved: Moved = None,
) -> None:
    """Decode token files into media files (.wav, .png)."""
    from ..codecs.token_file import prior_of
    from ..codecs.tokens import Tokens
    from ..zoo.choices import chosen

    tokenizer = load_model(model, device=device, dtype=dtype, folder=folder, part="decoder")
    ending = ending_of(tokenizer)
    choice = chosen(tokenizer, pairs_of(option), verbs=("decode",))
    coder = None if prior is None else prior_of(prior)

    def one(path: Path, target: Path) -> str:
        tokens = Tokens.load(path, prior=coder)
        if len(tokens) != 1:
            raise ValueError(f"it holds {len(tokens)} items; files of one are decoded. In Python, tokens[i].save(...) splits it.")
        tokens = tokens.first(codebooks=codebooks, positions=positions)
        write_media(tokenizer, choice.decode(tokenizer, tokens), tokens, target, original=choice.of_decode.original)
        return f"{shape(tokens)} -> {target}"

    def name(found: Sequence[Found]) -> list[Path]:
        return name_outputs(found, out, ending, drop=".tok")

    found = find(files, {".tok"}, results=Results(out, ending))
    each(found, out, name, one, what="decoding", refuse=lambda path: _no_tokens(path, model))


def reconstruct(
    model: Model,
    files: Files,
    out: Out = Path("reconstructed"),
    codebooks: Codebooks = None,
    positions: Positions = None,
    option: Pairs = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
    folder: Folder = None,
    moved: Moved = None,
) -> None:
    """Encode and decode media files, to compare originals and reconstructions by ear and eye."""
    from ..codecs.token_checks import is_clips
    from ..zoo.choices import chosen

    tokenizer = load_model(model, device=device, dtype=dtype, folder=folder)
    ending = ending_of(tokenizer)
    choice = chosen(tokenizer, pairs_of(option), codebooks=codebooks, positions=positions)

    def one(path: Path, target: Path) -> str:
        tokens = choice.encode(tokenizer, path)
        write_media(tokenizer, choice.decode(tokenizer, tokens), tokens, target, original=choice.of_decode.original)
        return f"{shape(tokens)} -> {target}"

    def name(found: Sequence[Found]) -> list[Path]:
        return name_outputs(found, out, ending)

    def refuse(path: Path) -> str | None:
        return other_kind(path, tokenizer.spec.modality, model, films=is_clips(tokenizer))

    each(media_of(tokenizer, files, Results(out, ending)), out, name, one, what="reconstructing", refuse=refuse)


def demo(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAMES]", help="With --serve: tokenizers to offer beside the shipped ones.", show_default=False),
    ] = None,
    out: Out = Path("demo_out"),
    serve: Annotated[bool, typer.Option("--serve", help="Serve a page to look, listen and edit tokens (needs gradio).")] = False,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="With --serve: who may reach it; by default this machine.")] = LOOPBACK,
    port: Annotated[int, typer.Option(metavar="N", help="With --serve: the port of the page (0: any free one).")] = 7860,
) -> None:
    """Encode and decode the shipped photograph and recording with the shipped tokenizers; no network is needed."""
    if serve:
        from ..zoo.demo.serve import serve as run_page

        return run_page(names or (), host=host, port=port)
    if names:
        raise ValueError(f"{', '.join(names)}: names belong to the page; add --serve. For files there is tokenzoo reconstruct.")
    from ..zoo.demo import run

    run(out)


def _no_tokens(path: Path, model: str) -> str | None:
    from ..codecs.media.endings import ENDINGS

    media = path.suffix.lower() in (*ENDINGS["audio"], *ENDINGS["image"])
    return f"this is no token file; to get one: tokenzoo encode {model} {path}" if media else None


def shape(tokens: Any) -> str:
    """Size of one item's tokens as text: codebooks x positions, bits, and vectors beside the ids."""
    from ..zoo.tables import counted

    side = "".join(f", {name} {' x '.join(map(str, rows[0].shape))}" for name, rows in tokens.side_vectors.items())
    size = f"{counted(tokens.num_codebooks, 'codebook')} x {counted(int(tokens.lengths[0]), 'position')}"
    return f"{size}, {sum(tokens.bits()):,} bits{side}"


def media_of(tokenizer: Any, files: list[str], results: Results) -> list[Found]:
    """The given files; of given folders, the files of the tokenizer's modality, without the results of the same command."""
    from ..codecs.media.endings import endings_of
    from ..codecs.token_checks import is_clips

    return find(files, endings_of(tokenizer.spec.modality, films=is_clips(tokenizer)), results=results)


def ending_of(tokenizer: Any) -> str:
    """File name ending of decoded media: .wav or .png; ValueError for tokenizers that decode to features."""
    if tokenizer.spec.modality == "latent":
        raise ValueError(f"{tokenizer.family} gives features back, neither sound nor a picture; decode them in Python.")
    return ".wav" if tokenizer.spec.modality == "audio" else ".png"


def write_media(tokenizer: Any, media: Any, tokens: Any, target: Path, *, original: bool = True) -> None:
    """Write one decoded item as .wav or .png (a clip: an animated one).

    Args:
        tokenizer: the one that decoded it.
        media: what `decode` returned.
        tokens: those of the item, which know its sample rate.
        target: the file.
        original: the decode option of this name: whether sound has its original sample rate.
    """
    from ..zoo.media_out import write_audio, write_image

    if tokenizer.spec.modality == "audio":
        write_audio(target, media[0], tokenizer.rate_of(tokens, original=original))
    else:
        write_image(target, tokenizer.to_uint8(media[0]))
