"""Teachers against their models called by hand, and what a loss with a teacher does to a tokenizer.

    pytest tests/train/test_teachers.py
"""


import numpy as np
import pytest
import teacher_models
import timm
import torch
import transformers
from teacher_models import RATE, sounds
from timm.models import save_for_hf
from tokenzoo.codecs.config import ConfigError, from_mapping
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.codecs.serialize import save_folder
from tokenzoo.codecs.spec import AudioSpec, ImageSpec
from tokenzoo.train.teachers.base import TeacherConfig
from tokenzoo.train.teachers.text_states import packed
from torch.nn import functional as F

AUDIO = AudioSpec(vocab_sizes=(16,), sample_rate_hz=RATE, hop_samples=320)
IMAGE = ImageSpec(vocab_sizes=(16,), stride=8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("teachers")
    kinds = ("speech_model", "transcriber", "text_model", "vision_model", "clip_text")
    return {kind: str(getattr(teacher_models, kind)(root / kind)) for kind in kinds}


def build(kind, spec=AUDIO, **options):
    return from_mapping(TeacherConfig, {"kind": kind, **options}).build(spec)


def normalized(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-7)


def test_an_embedding_is_what_the_models_own_head_gives(tmp_path):
    torch.manual_seed(0)
    model = timm.create_model("test_vit", num_classes=5, img_size=32)
    save_for_hf(model, str(tmp_path), safe_serialization=True, model_args={"img_size": 32, "num_classes": 5})
    teacher, x = build("vision_model", IMAGE, model=f"local-dir:{tmp_path}", form="embedding", image_size=32), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        want = model.eval()((((x + 1) / 2) - teacher.mean) / teacher.deviation)
    assert teacher(x).shape == (2, 5, 1)
    torch.testing.assert_close(teacher(x)[..., 0], want, atol=1e-4, rtol=1e-4)
    one, other = (build("vision_model", IMAGE, model="test_vit", image_size=32, pretrained=False)(x) for _ in range(2))
    assert one.shape == other.shape == (2, 64, 4) and not torch.equal(one, other)  # nothing was downloaded


def test_a_tokenizer_teaches_its_ids(tmp_path):
    config = {"value_range": [0.0, 1.0], "embed_dim": 4, "z_channels": 8, "quantizer": {"kind": "vq", "codebook_size": 16}}
    stack = {"widths": [8, 8], "blocks": 1, "groups": 4}
    tokenizer = build_tokenizer("vqgan", config | {"encoder": stack | {"stem_width": 8}, "decoder": stack}).eval()
    save_folder(tokenizer, tmp_path)
    x = torch.rand(2, 3, 12, 16)
    teacher = build("tokenizer", IMAGE, model=str(tmp_path))  # the student sees -1..1, this teacher 0..1
    ids = teacher(2 * x - 1)
    assert ids.dtype == torch.int64 and torch.equal(ids, tokenizer.encode(x).ids[:, 0])
    assert len(ids.unique()) > 2 and not any(p.requires_grad for p in teacher.parameters())
    with pytest.raises(ConfigError, match="neither a tokenizer that can be loaded|names no weights"):
        build("tokenizer", IMAGE, model=str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="looks at pictures"):
        build("tokenizer", model=str(tmp_path))


# --- speech -------------------------------------------------------------------------------------------------------------


def test_w2v_bert_takes_filter_banks(tmp_path):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16, "output_hidden_size": 16}
    model = transformers.Wav2Vec2BertModel(transformers.Wav2Vec2BertConfig(**sizes, vocab_size=8)).eval()
    model.save_pretrained(tmp_path)
    extractor = transformers.SeamlessM4TFeatureExtractor()
    extractor.save_pretrained(tmp_path)
    x = sounds(2, 6400)
    heard = extractor(list(F.pad(x[:, 0], (0, 80)).numpy()), sampling_rate=16000, return_tensors="pt")["input_features"]
    with torch.no_grad():
        states = model(heard, output_hidden_states=True).hidden_states
    for layer in (0, 1, -1):
        found = build("speech_model", model=str(tmp_path), layer=layer)(x)
        assert torch.allclose(found, states[layer].transpose(1, 2), atol=1e-4)


def test_speech_model_gives_the_models_hidden_states(folders):
    x = sounds(2, 3200)
    heard = np.pad(normalized(x[:, 0].numpy()), ((0, 0), (0, 80)))
    model = transformers.HubertModel.from_pretrained(folders["speech_model"]).eval()
    with torch.no_grad():
        states = [s.numpy() for s in model(torch.from_numpy(heard), output_hidden_states=True).hidden_states]
    teacher = build("speech_model", model=folders["speech_model"])
    assert teacher(x).shape == (2, 16, 10)  # as many frames as the tokenizer
    np.testing.assert_allclose(teacher(x).numpy().transpose(0, 2, 1), np.mean(states, axis=0), atol=2e-5)
    for layer in (0, 1, -1):
        one = build("speech_model", model=folders["speech_model"], layer=layer)(x)
        np.testing.assert_allclose(one.numpy().transpose(0, 2, 1), states[layer], atol=2e-5)
    whole = build("speech_model", model=folders["speech_model"], pool="mean")(x)
    np.testing.assert_allclose(whole.numpy()[..., 0], np.mean(states, axis=0).mean(1), atol=2e-5)


def test_speech_model_resamples_mixes_and_asks_the_extractor(folders, tmp_path):
    stereo = AudioSpec(vocab_sizes=(16,), sample_rate_hz=2 * RATE, hop_samples=640, channels=2)
    x = sounds(1, 6400).expand(1, 2, -1)
    teacher = build("speech_model", stereo, model=folders["speech_model"])
    assert teacher(x).shape == (1, 16, 10)
    # HuBERT's own norm hides the level of what is not very quiet.
    torch.testing.assert_close(teacher(1e-3 * x), teacher(x), atol=2e-2, rtol=1e-2)
    plain = build("speech_model", stereo, model=str(teacher_models.speech_model(tmp_path, normalize=False)))
    assert not torch.allclose(plain(1e-3 * x), plain(x), atol=0.1)


def test_teachers_are_frozen_and_stay_in_eval_mode(folders):
    teachers = [
        build("speech_model", model=folders["speech_model"]),
        build("text_states", transcriber=folders["transcriber"], text_model=folders["text_model"]),
        build("vision_model", IMAGE, model=f"local-dir:{folders['vision_model']}"),
    ]
    for teacher in teachers:
        assert not any(p.requires_grad for p in teacher.parameters())
        teacher.train()
        assert not any(m.training for m in teacher.modules())


def test_wrong_media_layers_and_kinds_are_explained(folders):
    with pytest.raises(ConfigError, match="modality is 'image'"):
        build("speech_model", IMAGE, model=folders["speech_model"])
    with pytest.raises(ConfigError, match="colour pictures"):
        build("vision_model", model="vit_tiny_patch16_224")
    with pytest.raises(ConfigError, match="0 to 2, or none"):
        build("speech_model", model=folders["speech_model"], layer=3)
    with pytest.raises(ConfigError, match="0 to 2, or none"):
        build("text_states", transcriber=folders["transcriber"], text_model=folders["text_model"], layer=-4)
    with pytest.raises(ConfigError, match="speech_model"):
        build("speech_modell", model="a")
    frames = build("text_states", transcriber=folders["transcriber"], text_model=folders["text_model"])
    with pytest.raises(ConfigError, match="at most 64 pieces"):
        frames(sounds(1, 320 * 65))


# --- text ---------------------------------------------------------------------------------------------------------------


def texts(folder, x):
    """Greedy CTC by hand: the best letter of each frame, repeats merged, blanks left out."""
    model = transformers.Wav2Vec2ForCTC.from_pretrained(folder).eval()
    with torch.no_grad():
        best = model(torch.from_numpy(np.pad(normalized(x[:, 0].numpy()), ((0, 0), (0, 80))))).logits.argmax(-1).tolist()
    letters = ["", "", "", "", " ", *"abcdefgh"]
    return ["".join(letters[a] for a, b in zip(row, [None, *row]) if a != b).strip() for row in best]


def states(folder, text, length=None):
    """Mean over BERT's layers for one text `[N, 16]`, filled up with its padding to `length`."""
    tokenizer, model = transformers.BertTokenizer.from_pretrained(folder), transformers.BertModel.from_pretrained(folder).eval()
    options = {"padding": "max_length", "max_length": length} if length else {}
    with torch.no_grad():
        out = model(**tokenizer(text, return_tensors="pt", truncation=bool(length), **options), output_hidden_states=True)
    return torch.stack(out.hidden_states).mean(0)[0].numpy()


def test_text_states_in_three_forms(folders):
    x = sounds(3, 6400)
    said = texts(folders["transcriber"], x)
    assert len(set(said)) == 3 and min(map(len, said)) > 1
    common = {"transcriber": folders["transcriber"], "text_model": folders["text_model"]}
    teacher = build("text_states", **common)
    assert teacher.transcribe(x)[0] == said
    frames = teacher(x)
    assert frames.shape == (3, 16, 20)
    pieces, first = build("text_states", **common, form="pieces")(x), build("text_states", **common, form="first")(x)
    for i, text in enumerate(said):
        np.testing.assert_allclose(frames[i].numpy().T, states(folders["text_model"], text, 20), atol=1e-5)
        alone = states(folders["text_model"], text)
        n = len(alone) - 2  # without the first and the last token
        np.testing.assert_allclose(pieces[i, :, :n].numpy().T, alone[1:-1], atol=1e-5)
        assert not pieces[i, :, n:].any()
        np.testing.assert_allclose(first[i].numpy().T, alone[:1], atol=1e-5)


def test_packed_keeps_the_order():
    rows = torch.arange(1.0, 13).view(2, 6, 1)
    wanted = torch.tensor([[0, 1, 0, 1, 1, 0], [0, 0, 0, 0, 0, 1]]).bool()
    assert packed(rows, wanted)[..., 0].tolist() == [[2, 4, 5], [12, 0, 0]]
    assert packed(rows, torch.zeros(2, 6).bool())[..., 0].tolist() == [[0], [0]]


# --- pictures -----------------------------------------------------------------------------------------------------------


def test_vision_model_gives_patches_and_one_vector(folders):
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    teacher = build("vision_model", IMAGE, model=f"local-dir:{folders['vision_model']}")
    model = teacher.model
    mean, deviation = (np.array(model.pretrained_cfg[k], dtype=np.float32)[:, None, None] for k in ("mean", "std"))
    small = F.interpolate(x, size=(32, 32), mode="bicubic", antialias=True)
    y = torch.from_numpy((np.clip((small.numpy() + 1) / 2, 0, 1) - mean) / deviation)
    with torch.no_grad():
        features = model.forward_features(y)
    patches = features[:, model.num_prefix_tokens :].transpose(1, 2)
    torch.testing.assert_close(teacher(x), patches, atol=1e-5, rtol=1e-5)
    pooled = build("vision_model", IMAGE, model=f"local-dir:{folders['vision_model']}", form="pooled")(x)
    mean_of_patches = build("vision_model", IMAGE, model=f"local-dir:{folders['vision_model']}", form="mean")(x)
    torch.testing.assert_close(mean_of_patches, patches.mean(2, keepdim=True), atol=1e-5, rtol=1e-5)
    with pytest.raises(ConfigError, match="has no head"):
        build("vision_model", IMAGE, model=f"local-dir:{folders['vision_model']}", form="embedding")
    torch.testing.assert_close(pooled[..., 0], model.forward_head(features, pre_logits=True), atol=1e-5, rtol=1e-5)
    large = build("vision_model", IMAGE, model=f"local-dir:{folders['vision_model']}", image_size=64)
    assert large(x).shape == (2, 64, 64)
    first = build("vision_model", IMAGE, model=f"local-dir:{folders['vision_model']}", layer=0)
    assert not torch.allclose(first(x), teacher(x), atol=1e-2)


# --- losses -------------------------------------------------------------------------------------------------------------


# --- what lies beside the media -----------------------------------------------------------------------------------------


def test_text_states_of_a_text_beside_the_sound_are_those_of_its_transcript(folders):
    x = sounds(3, 6400)
    for form, options in (("frames", {"frames": 20}), ("pieces", {}), ("first", {})):
        common = {"text_model": folders["text_model"], "form": form, "layer": -1}
        of_sound = build("text_states", transcriber=folders["transcriber"], **common)
        of_text = build("text_states", partner="p", **common, **options)
        texts, frames = of_sound.transcribe(x)
        assert frames == 20 and len(set(texts)) > 1
        assert torch.equal(of_sound(x), of_text(texts))
    for options in ({}, {"partner": "p", "transcriber": "t"}, {"partner": "p"}, {"partner": "p", "form": "first", "frames": 3}):
        with pytest.raises(ConfigError, match="it needs one of them|need the number of pieces"):
            build("text_states", text_model=folders["text_model"], **options)


def test_stored_features_are_given_as_they_are():
    vectors, rows = torch.randn(2, 5), torch.randn(2, 7, 5)
    assert torch.equal(build("stored", partner="p")(vectors), vectors[..., None])
    assert torch.equal(build("stored", partner="p")(rows), rows)
    assert torch.equal(build("stored", partner="p", time_first=True)(rows), rows.transpose(1, 2))
    with pytest.raises(ConfigError, match=r"items of shape \[2, 3, 4\]; allowed"):
        build("stored", partner="p")(torch.zeros(1, 2, 3, 4))


def test_captions_reach_the_decoder_in_training_as_in_decode(folders):
    """TA-TiTok with the teacher's states as further argument equals `decode` with the texts themselves."""
    size = {"width": 32, "layers": 1, "heads": 2}
    config = {"image_size": 32, "encoder_patch_size": 8, "decoder_patch_size": 8, "encoder": size, "decoder": size}
    config |= {"num_latents": 4, "latent_dim": 4}
    config |= {"quantizer": {"kind": "vq", "codebook_size": 16}, "text": {"length": 6, "dim": 8, "model": folders["clip_text"]}}
    tokenizer, texts = build_tokenizer("titok", config).eval(), ["a b", "c"]
    teacher = build("clip_text", IMAGE, partner="caption", model=folders["clip_text"], length=6)
    x, states = torch.rand(2, 3, 32, 32), teacher(texts)
    assert states.shape == (2, 8, 6) and not torch.equal(states[0], states[1])
    with torch.no_grad():
        want = tokenizer.decode(tokenizer.encode(x), text=texts)
        torch.testing.assert_close(tokenizer(x, states).x_hat.clamp(0, 1), want.clamp(0, 1))
    tokenizer.train()(x, states).x_hat.mean().backward()
    assert tokenizer.text.proj.weight.grad.abs().sum() > 0
    with pytest.raises(ConfigError, match="has no partner; name the text"):
        build("clip_text", IMAGE)
