"""What UniCodec is told and shown in training: the domain of each clip, and hidden frames.

    pytest tests/audio/wavtokenizer/test_unicodec_training.py
"""

import pytest
import torch
from families import TINY
from small_runs import write_speech
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.train.files import load_run
from tokenzoo.train.loop import Trainer


def made(**changes):
    torch.manual_seed(0)
    return build_tokenizer("wavtokenizer", TINY["wavtokenizer-experts"][1] | changes)


def test_each_clip_is_quantized_with_the_codes_of_its_domain():
    tokenizer = made(masking={"rate": 0.0}).train()
    x = torch.randn(4, 1, 400)
    out = tokenizer(x, torch.tensor([0, 1, 2, -1]))
    ids = out.quantized.ids
    for i, (low, high) in enumerate(((0, 4), (4, 8), (8, 16), (0, 16))):
        assert int(ids[i].min()) >= low and int(ids[i].max()) < high
    rows, codes = out.z.transpose(1, 2).double(), tokenizer.quantizer.codes().double()  # [B, L, D], [V, D]
    plain = [torch.cdist(rows[i], codes[low:high]).argmin(1) + low for i, (low, high) in enumerate(((0, 4), (4, 8), (8, 16), (0, 16)))]
    assert torch.equal(ids[:, 0], torch.stack(plain))
    assert torch.equal(out.quantized.z_q.detach(), tokenizer.quantizer.decode(ids))
    for i, domain in enumerate(("speech", "music", "sound", None)):
        assert torch.equal(tokenizer.encode((x[i], 24000), domain=domain).ids[0], ids[i])
    assert torch.equal(tokenizer(x[3:], None).quantized.ids, ids[3:])


def test_its_losses_are_those_of_the_chosen_codes():
    tokenizer = made().train()
    x = torch.randn(2, 1, 400)
    whole, told = tokenizer(x), tokenizer(x, torch.tensor([-1, -1]))
    assert torch.equal(whole.quantized.loss, told.quantized.loss) and torch.equal(whole.x_hat, told.x_hat)
    assert tokenizer(x, torch.tensor([1, 1])).quantized.loss > whole.quantized.loss


def test_what_is_no_domain_is_refused():
    with pytest.raises(ValueError, match="0 to 2 for speech, music, sound"):
        made()(torch.randn(1, 1, 400), torch.tensor([3]))
    with pytest.raises(ConfigError, match="domains to true"):
        made(domains=False)(torch.randn(1, 1, 400), torch.tensor([0]))
    with pytest.raises(ConfigError, match="set experts"):
        made(experts=None, masking={})


def test_frames_are_hidden_in_training_alone():
    tokenizer, x = made(masking={"rate": 0.5}), torch.randn(2, 1, 400)
    seen = tokenizer.eval()(x)
    assert "hidden" not in seen.features
    out = tokenizer.train()(x)
    assert torch.equal(out.features["frames"], seen.features["frames"]) and out.features["hidden"].any()
    assert not torch.equal(out.z, seen.z)
    with torch.no_grad():
        ids = tokenizer.encode((x[0], 24000)).ids  # in train mode
    assert torch.equal(ids[0], seen.quantized.ids[0])


def test_a_run_reads_the_domains_beside_its_clips(tmp_path):
    speech = write_speech(tmp_path / "speech")
    (speech / "speech.domain").write_text("music\n")
    teacher = "{domain: {kind: label, partner: domain, names: [speech, music, sound]}}"
    told = ["data.partners={domain: {kind: text, suffix: .domain}}", f"teachers={teacher}", "model.features=[domain]"]
    quiet = ["data.valid=[]", "every.validate=0", "tensorboard=false", "threads=1", "device=cpu", "steps=2"]
    changes = [f"data.train={speech}", f"output={tmp_path / 'run'}", *told, *quiet]
    trainer = Trainer(load_run("audio/wavtokenizer-masked-debug", changes))
    trainer.run()
    used = trainer.state.tokenizer.quantizer.window.counts()[0].nonzero().flatten()
    assert len(used) and int(used.min()) >= 16 and int(used.max()) < 32  # music's quarter of 64
    (speech / "speech.domain").write_text("noise")
    with pytest.raises(ConfigError, match="'noise'"):
        Trainer(load_run("audio/wavtokenizer-masked-debug", [*changes, f"output={tmp_path / 'other'}"])).run()
