"""Media tokens in a text tokenizer of transformers. Run: pytest tests/zoo/corpus/test_hf.py"""

import subprocess
import sys

import pytest
from tokenzoo.zoo.corpus.hf import tokenizer_extension
from tokenzoo.zoo.corpus.vocabulary import Books, Reserved, Vocabulary
from waiting import PATIENCE_SECONDS

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")


def text_tokenizer():
    """Five words, ids 0..4."""
    words = tokenizers.models.WordLevel({"[UNK]": 0, "[PAD]": 1, "a": 2, "b": 3, "c": 4}, unk_token="[UNK]")
    inner = tokenizers.Tokenizer(words)
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]", pad_token="[PAD]")


def vocabulary(text_size: int = 8, sizes: tuple[int, ...] = (4, 6)) -> Vocabulary:
    return Vocabulary(
        text_size=text_size,
        text_specials={"pad": 1},
        media=(Books(name="speech", modality="audio", vocab_sizes=sizes),),
        reserved=(Reserved(name="room", size=2),),
        multiple_of=8,
    )


def test_strings_fall_on_the_ids_of_the_vocabulary():
    tokenizer, v = text_tokenizer(), vocabulary()
    done = tokenizer_extension(tokenizer, v)
    assert len(tokenizer) == v.size == done.rows_after
    assert (done.rows_before, done.new_rows, done.idle_rows) == (8, range(8, v.size), range(5, 8))
    first, second = v.offsets("speech")
    ids = tokenizer("a <|begin_audio|><|speech:0:3|><|speech:1:5|><|end_audio|> b")["input_ids"]
    assert ids == [2, v.special("begin_audio"), first + 3, second + 5, v.special("end_audio"), 3]
    assert tokenizer.convert_ids_to_tokens(list(range(8, v.size))) == v.new_tokens()
    assert tokenizer.decode(ids, skip_special_tokens=True).split() == ["a", "b"]


def test_new_rows_are_those_that_the_model_lacks():
    config = transformers.GPT2Config(vocab_size=8, n_positions=8, n_embd=4, n_layer=1, n_head=1)
    model = transformers.GPT2LMHeadModel(config)
    old = model.get_input_embeddings().weight.detach().clone()
    done = tokenizer_extension(text_tokenizer(), vocabulary())
    model.resize_token_embeddings(done.rows_after)
    new = model.get_input_embeddings().weight
    assert new.shape[0] == done.new_rows.stop and len(done.new_rows) == new.shape[0] - old.shape[0]
    assert (new[: done.new_rows.start] == old).all()


def test_a_second_call_and_a_saved_tokenizer_change_nothing(tmp_path):
    tokenizer, v = text_tokenizer(), vocabulary()
    first = tokenizer_extension(tokenizer, v)
    assert first.added == v.size - 5
    tokenizer.save_pretrained(tmp_path)
    again = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path)
    for t in (tokenizer, again):
        second = tokenizer_extension(t, v)
        assert second.added == 0 and second.new_rows == first.new_rows and second.idle_rows == first.idle_rows
        assert len(t) == v.size


@pytest.mark.parametrize(
    ("v", "message"),
    [
        (vocabulary(text_size=4), "at least 5"),
        (Vocabulary(text_size=8, text_specials={"pad": 6}), "no token there"),
    ],
)
def test_vocabularies_that_do_not_fit_are_refused_and_nothing_is_added(v, message):
    tokenizer = text_tokenizer()
    with pytest.raises(ValueError, match=message):
        tokenizer_extension(tokenizer, v)
    assert len(tokenizer) == 5


def test_another_vocabulary_is_refused():
    tokenizer = text_tokenizer()
    tokenizer_extension(tokenizer, vocabulary())
    with pytest.raises(ValueError, match="extended with another vocabulary"):
        tokenizer_extension(tokenizer, vocabulary(text_size=16))


def test_transformers_is_imported_only_by_the_call():
    code = "import sys, tokenzoo.zoo.corpus.hf; print('transformers' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE_SECONDS)
    assert out.stdout.strip() == "False"
