"""Tiny random models of transformers and timm in folders, as teachers' `model:` takes them."""

import json
from pathlib import Path

import timm
import tokenizers
import torch
import transformers
from timm.models import save_for_hf

RATE = 16000
_SPEECH = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16, "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2, "initializer_range": 0.3,
}  # fmt: skip


def speech_model(folder: Path, *, normalize: bool = True) -> Path:
    """A HuBERT of 16 channels and 2 layers, a frame for each 320 samples."""
    torch.manual_seed(0)
    transformers.HubertModel(transformers.HubertConfig(**_SPEECH)).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=normalize).save_pretrained(folder)
    return folder


def transcriber(folder: Path) -> Path:
    """A wav2vec 2.0 with a CTC head over 8 letters; what it hears is nonsense, but depends on the sound."""
    torch.manual_seed(1)
    letters = ["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefgh"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({c: i for i, c in enumerate(letters)}))
    transformers.Wav2Vec2CTCTokenizer(str(folder / "vocab.json")).save_pretrained(folder)
    config = transformers.Wav2Vec2Config(**_SPEECH, vocab_size=len(letters), pad_token_id=0)
    model = transformers.Wav2Vec2ForCTC(config).eval()
    with torch.no_grad():  # no letter wins everywhere
        hidden = model.wav2vec2(sounds(4, 6400)[:, 0]).last_hidden_state.flatten(0, 1)
        model.lm_head.bias.copy_(-(model.lm_head.weight @ hidden.mean(0)))
        model.lm_head.bias[1:4] = -1e4
    model.save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return folder


def text_model(folder: Path) -> Path:
    """A BERT of 16 channels whose word pieces are single letters."""
    torch.manual_seed(2)
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh", *(f"##{c}" for c in "abcdefgh")]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(pieces))
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(pieces), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=64, initializer_range=0.3,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def clip_text(folder: Path) -> Path:
    """The text half of a CLIP of 8 channels whose words are the letters a to h."""
    torch.manual_seed(5)
    folder.mkdir(parents=True, exist_ok=True)
    words = {f"{c}</w>": i for i, c in enumerate("abcdefgh")} | {"<|startoftext|>": 8, "<|endoftext|>": 9}
    (folder / "vocab.json").write_text(json.dumps(words))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    transformers.CLIPTokenizer.from_pretrained(str(folder)).save_pretrained(folder)
    config = transformers.CLIPTextConfig(
        vocab_size=10, hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, projection_dim=6,
        max_position_embeddings=77, bos_token_id=8, eos_token_id=9, initializer_range=0.3, initializer_factor=20.0,
    )  # fmt: skip
    transformers.CLIPTextModelWithProjection(config).save_pretrained(folder)
    return folder


def language_model(folder: Path) -> Path:
    """A LLaMA of 16 channels and 2 layers whose tokens are the letters a to h and words of a prompt."""
    torch.manual_seed(4)
    words = ["<pad>", "<unk>", "</s>", "<s>", *"abcdefgh", "this", "shows"]
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    model.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=model, pad_token="<pad>", unk_token="<unk>", eos_token="</s>", bos_token="<s>"
    )
    tokenizer.save_pretrained(folder)
    config = transformers.LlamaConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=64, initializer_range=0.3, pad_token_id=0, bos_token_id=3, eos_token_id=2,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def vision_model(folder: Path) -> Path:
    """A ViT of 64 channels for pictures of 32 x 32 pixels with patches of 8."""
    torch.manual_seed(3)
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 3, "num_heads": 2}
    model = timm.create_model("test_vit", num_classes=0, **sizes)
    model.pretrained_cfg = {**model.pretrained_cfg, "input_size": (3, 32, 32)}
    save_for_hf(model, str(folder), safe_serialization=True, model_args=sizes)
    return folder


def sounds(count: int, samples: int, seed: int = 0) -> torch.Tensor:
    """Tones that come and go, in noise, `[B, 1, T]`: each clip has its own course."""
    g = torch.Generator().manual_seed(seed)
    t = torch.arange(samples) / RATE
    steps = torch.randint(1, 9, (count, 8), generator=g).repeat_interleave(-(-samples // 8), dim=1)[:, :samples]
    x = 0.3 * torch.sin(2 * torch.pi * 180 * steps * t) * (steps % 3 > 0) + 0.02 * torch.randn(count, samples, generator=g)
    return x[:, None]
