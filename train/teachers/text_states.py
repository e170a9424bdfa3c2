"""Hidden states of a text model on the transcript of a crop: one beside it, or what a speech recognition model (CTC) writes.

Sources: DM-Codec (arXiv 2410.15017; mubtasimahasan/DM-Codec @ 25c742a, `extract_rep.py`: wav2vec2-base-960h, then
BERT-base, mean over layers), FuseCodec (arXiv 2509.11425).
Differs: the authors cut crops once and store their states. Here states are computed in the loop: crops that are drawn anew at every
step are transcribed; items that are cut already can bring their text (`partner`), or their states (the teacher `stored`).
Letters: B batch, T samples, F frames of the transcriber, N word pieces, D width of the text model.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ...codecs.config import ConfigError, SignedInt
from ...codecs.spec import TokenizerSpec
from ..packages import transformers_package
from .base import Teacher, TeacherConfig, WaveformInput


@dataclass(frozen=True, kw_only=True)
class TextStatesConfig(TeacherConfig):
    """Text states of a crop in one of three forms.

    Attributes:
        partner: a text beside the media in place of the transcript. It is that of the whole item, so crops should be whole items.
        transcriber: without `partner`, hub id or folder of a CTC model of transformers with its tokenizer
            (`facebook/wav2vec2-base-960h`).
        text_model: hub id or folder of a text encoder with its tokenizer (`bert-base-uncased`).
        layer: 0: the embeddings, 1: the output of the first layer, -1: of the last; None: mean over all of them, 0 included.
        form: "frames": the transcript is padded with the text tokenizer's padding token to one piece for each frame of the
            transcriber, and the states of the padding count too (DM-Codec); "pieces": a state for each word piece in their order,
            zeros after an item's last one (for `aligned_distillation`); "first": the state of the first token, which in BERT
            represents the whole text (FuseCodec's global vector).
        frames: with `partner`, the number of pieces that the form "frames" pads to: the frames of a crop (50 a second).
        pad: samples of silence before and after, at the transcriber's rate; see `speech_model`.
        rate_hz: sample rate that the transcriber takes as input.
    """

    kind: ClassVar[str] = "text_states"
    partner_kinds: ClassVar[tuple[str, ...]] = ("text",)
    transcriber: str = ""
    text_model: str
    layer: SignedInt | None = None
    form: Literal["frames", "pieces", "first"] = "frames"
    pad: tuple[int, int] = (0, 80)
    rate_hz: int = 16000
    frames: int = 0

    def __post_init__(self) -> None:
        if bool(self.partner) == bool(self.transcriber):
            raise ConfigError(
                f"the teacher {self.kind!r} has transcriber {self.transcriber!r} and partner {self.partner!r}; it needs one of them."
            )
        if bool(self.frames) != bool(self.partner and self.form == "frames"):
            raise ConfigError(
                f"the teacher {self.kind!r} has frames {self.frames}; texts of a partner in the form 'frames', and nothing else, need "
                "the number of pieces that they are padded to."
            )

    def build(self, spec: TokenizerSpec) -> Teacher:
        return TextStates(self, spec)


class TextStates(Teacher):
    """A frozen speech recogniser and a frozen text model on its transcripts; settings: `TextStatesConfig`."""

    def __init__(self, config: TextStatesConfig, spec: TokenizerSpec) -> None:
        super().__init__()
        self.config = config
        package = transformers_package(f"the teacher {config.kind!r}")
        if config.transcriber:
            extractor = package.AutoFeatureExtractor.from_pretrained(config.transcriber)
            self.waveform_input = WaveformInput(spec, config.rate_hz, normalize=bool(extractor.do_normalize), who=config.kind)
            self.transcriber = package.AutoModelForCTC.from_pretrained(config.transcriber).requires_grad_(False)
            self.letters = package.AutoTokenizer.from_pretrained(config.transcriber)
        self.text_model = package.AutoModel.from_pretrained(config.text_model).requires_grad_(False)
        self.pieces = package.AutoTokenizer.from_pretrained(config.text_model)
        layers = self.text_model.config.num_hidden_layers
        if config.layer is not None and not -layers - 1 <= config.layer <= layers:
            raise ConfigError(f"layer is {config.layer}; {config.text_model} has {layers} layers: 0 to {layers}, or none for the mean.")
        self.most = self.text_model.config.max_position_embeddings
        self.eval()

    def transcribe(self, x: Tensor) -> tuple[list[str], int]:
        """Transcript of each item of `[B, C, T]`, and the number F of the transcriber's frames."""
        logits = self.transcriber(self.waveform_input(x, self.config.pad)).logits  # [B, F, letters]
        return self.letters.batch_decode(logits.argmax(-1)), logits.shape[1]

    def targets(self, x: Tensor | list[str]) -> Tensor:
        """`[B, C, T]`, or B texts, -> `[B, D, F]` (form "frames"), `[B, D, N]` ("pieces") or `[B, D, 1]` ("first")."""
        texts, frames = self.transcribe(x) if isinstance(x, Tensor) else (x, self.config.frames)
        form, device = self.config.form, next(self.text_model.parameters()).device
        if form == "frames" and frames > self.most:
            raise ConfigError(
                f"a crop has {frames} frames, {self.config.text_model} reads at most {self.most} pieces; use shorter crops."
            )
        padding = {"padding": "max_length", "max_length": frames} if form == "frames" else {"padding": True, "max_length": self.most}
        read = self.pieces(texts, truncation=True, return_special_tokens_mask=True, return_tensors="pt", **padding).to(device)
        special = read.pop("special_tokens_mask").bool()  # [B, N], padding included
        hidden = self.text_model(**read, output_hidden_states=True).hidden_states
        states = torch.stack(hidden).mean(0) if self.config.layer is None else hidden[self.config.layer]  # [B, N, D]
        if form == "first":
            states = states[:, :1]
        elif form == "pieces":
            states = packed(states, ~special)
        return states.transpose(1, 2)


def packed(states: Tensor, wanted: Tensor) -> Tensor:
    """Move the rows of each item that `wanted` marks to the front, zeros after them: `[B, N, D]` and bool `[B, N]` to `[B, M, D]`.

    M is the largest number of marked rows of an item, at least 1.
    """
    order = wanted.int().sort(dim=1, descending=True, stable=True).indices  # [B, N]
    moved = (states * wanted[..., None]).gather(1, order[..., None].expand_as(states))
    return moved[:, : max(1, int(wanted.sum(1).max()))]
