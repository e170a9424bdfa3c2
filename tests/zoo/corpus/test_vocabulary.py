"""One id space for text, specials and codebooks. Run: pytest tests/zoo/corpus/test_vocabulary.py"""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenzoo.codecs.config import ConfigError, from_mapping, to_mapping
from tokenzoo.codecs.spec import AudioSpec
from tokenzoo.zoo.corpus.vocabulary import SPECIALS, Books, Reserved, Vocabulary

books_lists = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4), max_size=3)


def build(sizes: list[list[int]], text: int, gaps: list[int], multiple: int, shared: int) -> Vocabulary:
    media = tuple(
        Books(name=f"m{i}", modality="image" if i % 2 else "audio", vocab_sizes=tuple(v)) for i, v in enumerate(sizes)
    )
    places = ["text", "specials", *(m.name for m in media)]
    return Vocabulary(
        media=media,
        text_size=text,
        text_specials={s: i for i, s in enumerate(SPECIALS[: min(shared, text)])},
        reserved=tuple(Reserved(name=f"r{i}", size=g, after=places[i % len(places)]) for i, g in enumerate(gaps)),
        multiple_of=multiple,
    )


vocabularies = st.builds(
    build,
    books_lists,
    st.integers(0, 20),
    st.lists(st.integers(1, 5), max_size=4),
    st.integers(1, 64),
    st.integers(0, 4),
)


@settings(max_examples=60, deadline=None)
@given(vocabularies)
def test_ranges_cover_the_space_once(vocabulary):
    owner: dict[int, str] = {}
    for r in vocabulary.ranges():
        for i in range(r.start, r.stop):
            assert i not in owner
            owner[i] = r.label
    assert sorted(owner) == list(range(vocabulary.size))
    assert vocabulary.size % vocabulary.multiple_of == 0
    assert len(vocabulary.new_tokens()) == len(set(vocabulary.new_tokens())) == vocabulary.size - vocabulary.text_size


@settings(max_examples=60, deadline=None)
@given(vocabularies)
def test_no_two_codebooks_or_specials_share_an_id(vocabulary):
    seen = list(vocabulary.specials().values())
    for m in vocabulary.media:
        for k, v in enumerate(m.vocab_sizes):
            ids = torch.zeros(len(m.vocab_sizes), v, dtype=torch.int64)
            ids[k] = torch.arange(v)
            out = vocabulary.to_ids(m.name, ids)
            seen += out[k].tolist()
            own, book = vocabulary.from_ids(m.name, out)
            assert torch.equal(own, ids)
            assert (book == torch.arange(len(m.vocab_sizes))[:, None]).all()
    assert len(seen) == len(set(seen))
    assert all(0 <= i < vocabulary.size for i in seen)


@settings(max_examples=60, deadline=None)
@given(vocabularies)
def test_json_round_trip(vocabulary):
    text = json.dumps(to_mapping(vocabulary))
    assert from_mapping(Vocabulary, json.loads(text)) == vocabulary


@settings(max_examples=30, deadline=None)
@given(vocabularies)
def test_from_ids_knows_only_its_own(vocabulary):
    every = torch.arange(-3, vocabulary.size + 3)
    for m in vocabulary.media:
        own, book = vocabulary.from_ids(m.name, every)
        mine = book >= 0
        assert int(mine.sum()) == sum(m.vocab_sizes)
        assert (own[~mine] == -1).all()
        assert all(vocabulary.describe(int(i)).startswith(f"{m.name} codebook") for i in every[mine])


def example() -> Vocabulary:
    return Vocabulary(
        text_size=100,
        text_specials={"pad": 7},
        media=(
            Books(name="speech", modality="audio", vocab_sizes=(16, 8)),
            Books(name="photo", modality="image", vocab_sizes=(32,)),
        ),
        reserved=(Reserved(name="room", size=5),),
    )


def test_layout_by_hand():
    v = example()
    assert v.special("pad") == 7
    assert v.special("begin") == 105 and v.special("end_audio") == 105 + len(SPECIALS) - 2
    assert v.offsets("speech") == (114, 130) and v.offsets("photo") == (138,) and v.size == 170
    assert v.describe(131) == "speech codebook 1 id 1" and v.describe(7) == "special 'pad'"
    assert v.describe(102) == "room 2" and v.describe(170) == "outside 0..169" and v.describe(5) == "text 5"


def test_table_shows_every_range_with_its_borders():
    rows = [line.split() for line in example().table().splitlines()]
    assert ["114", "129", "16", "speech", "codebook", "0"] in rows
    assert ["130", "137", "8", "speech", "codebook", "1"] in rows
    assert ["100", "104", "5", "room"] in rows
    assert "pad 7" in example().table()


def test_an_id_outside_its_codebook_is_refused():
    v = example()
    with pytest.raises(ValueError, match=r"id 16 at \[0, 0\] lies outside codebook 0 of 'speech' \(0..15\)"):
        v.to_ids("speech", torch.tensor([[16], [0]]))
    with pytest.raises(ValueError, match="K=2"):
        v.to_ids("speech", torch.tensor([[1], [0], [0]]))
    with pytest.raises(ConfigError, match="Did you mean 'speech'"):
        v.offsets("speach")
    with pytest.raises(ConfigError, match="Did you mean"):
        v.special("begin_adio")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"media": (Books(name="a", modality="audio", vocab_sizes=(2,)),) * 2}, "'a' stands twice"),
        ({"media": (Books(name="text", modality="audio", vocab_sizes=(2,)),)}, "'text' stands twice"),
        ({"text_size": -1}, "text_size is -1"),
        ({"reserved": (Reserved(name="r", size=0),)}, "size 0"),
        ({"reserved": (Reserved(name="r", size=1, after="specal"),)}, "Did you mean 'specials'"),
        ({"text_size": 4, "text_specials": {"pad": 4}}, "0..3"),
        ({"text_size": 4, "text_specials": {"pad": 1, "end": 1}}, "one id to two"),
        ({"text_size": 4, "text_specials": {"padd": 1}}, "Did you mean 'pad'"),
    ],
)
def test_vocabularies_that_could_collide_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        Vocabulary(**change)


def test_books_of_a_spec():
    spec = AudioSpec(vocab_sizes=(8, 8, 8), sample_rate_hz=16000, hop_samples=320)
    assert Books.of("a", spec, num_codebooks=2) == Books(name="a", modality="audio", vocab_sizes=(8, 8))
    with pytest.raises(ConfigError, match="word"):
        Books.of("a b", spec)
