"""Asked to end, a run loses nothing: whenever the request comes, a checkpoint is written, and the farewell says what is saved.

    pytest tests/train/test_stop.py
"""

import os
import signal

import pytest
from tokenzoo.train import checkpoint, resume
from tokenzoo.train.__main__ import main
from tokenzoo.train.evaluate import Validation
from tokenzoo.train.files import parse_run
from tokenzoo.train.loop import Trainer, train
from tokenzoo.train.stop import StopRequest
from train_media import image_run, write_pictures


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"), 6)


def looked_at(pictures, output, **changes):
    """A run that is validated and previewed every second step, and would be saved at its end alone."""
    every = {"log": 1, "checkpoint": 0, "preview": 2, "preview_items": 2, "validate": 2, "validate_items": 2}
    run = image_run(pictures, output, every=every, **changes)
    run["data"] |= {"valid": str(pictures)}
    return run


def names(out):
    return [p.name for p in checkpoint.checkpoints(out)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("method", ["run", "preview"])
def test_while_it_is_looked_at(pictures, tmp_path, monkeypatch, capsys, method, number):
    real, signals = getattr(Validation, method), []

    def interrupted(self):
        if self.state.step == 2:
            os.kill(os.getpid(), number)
            signals.append(number)
        real(self)

    monkeypatch.setattr(Validation, method, interrupted)
    run = looked_at(pictures, tmp_path)
    result = train(parse_run(run))
    assert signals == [number]
    assert result.step == 3  # the step after the request is the last one
    assert names(tmp_path) == ["checkpoint-00000003"]
    assert (result.model / "model.safetensors").is_file()
    text = capsys.readouterr().err
    assert "stopped at step 3" in text and "checkpoint-00000003 is saved; the same command resumes from it" in text
    assert train(parse_run(run)).step == 6
    assert "going on from" in capsys.readouterr().err


def test_during_a_step_it_is_saved_before_anything_else_that_is_due(pictures, tmp_path, monkeypatch):
    made, order = Trainer(parse_run(looked_at(pictures, tmp_path))), []
    step = made.train_step

    def interrupted(feed):
        values = step(feed)
        if made.state.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return values

    made.train_step = interrupted
    for owner, name in ((resume, "save"), (Validation, "run"), (Validation, "preview")):
        real = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *a, name=name, real=real, **k: (order.append(name), real(*a, **k)))
    assert made.run().step == 4
    assert order == ["run", "preview", "save", "run", "preview"]
    assert names(tmp_path) == ["checkpoint-00000004"]


def test_a_request_while_it_is_saved_counts_after_the_next_step(pictures, tmp_path, monkeypatch):
    run = image_run(pictures, tmp_path)  # saved every second step
    real = resume.save

    def interrupted(state, *arguments, **named):
        if state.step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return real(state, *arguments, **named)

    monkeypatch.setattr(resume, "save", interrupted)
    assert train(parse_run(run)).step == 3
    assert names(tmp_path) == ["checkpoint-00000002", "checkpoint-00000003"]


def test_in_the_last_validation_the_run_ends_as_always(pictures, tmp_path, monkeypatch, capsys):
    real = Validation.run

    def interrupted(self):
        if self.state.step == 6:
            os.kill(os.getpid(), signal.SIGINT)
        real(self)

    monkeypatch.setattr(Validation, "run", interrupted)
    assert train(parse_run(looked_at(pictures, tmp_path))).step == 6
    assert names(tmp_path) == ["checkpoint-00000006"]
    assert "stopped" not in capsys.readouterr().err


@pytest.mark.parametrize(("saved", "words"), [(0, "Nothing is saved in"), (2, "checkpoint-00000002 is saved; the same command")])
def test_asked_twice_it_ends_at_once_and_says_what_there_is(pictures, tmp_path, monkeypatch, capsys, saved, words):
    import yaml

    run = looked_at(pictures, tmp_path / "out")
    run["every"]["checkpoint"] = saved
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(run))
    real = Validation.run

    def impatient(self):
        if self.state.step == 4:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        real(self)

    monkeypatch.setattr(Validation, "run", impatient)
    assert main([str(path)]) == 130
    text = capsys.readouterr().err
    assert "stopped at once" in text and words in text
    assert names(tmp_path / "out") == (["checkpoint-00000002"] if saved else [])


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGINT)
    stop = StopRequest()
    with stop.listen():
        assert not stop
        os.kill(os.getpid(), signal.SIGINT)
        assert stop
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
