"""What a short training of ReTok puts into its first tokens. Run: pytest -m effect -s tests/image/retok/test_retok_training.py"""

import pytest
from effects import effect
from small_runs import error, held_out, trained, write_photo

#: Pixels and steps of the bundled run fit no test of what single tokens say; its losses of features would double the time.
SMALL = [
    "data.crop=16", "batch_size=16", "model.config.image_size=16", "model.config.num_tokens=8", "model.config.first=8",
    "losses.features=null", "steps=600",
]  # fmt: skip
pytestmark = [pytest.mark.slow, pytest.mark.effect]


@pytest.fixture(scope="module")
def errors(tmp_path_factory):
    """Error of pixels by number of tokens, of the run with lengths drawn and of that with all tokens at each step."""
    folder, x, found = tmp_path_factory.mktemp("retok"), held_out(96, 16, (-1.0, 1.0)), {}
    photos = write_photo(folder / "photo")
    for drawn in (True, False):
        length = f"model.config.random_length={str(drawn).lower()}"
        tokenizer = trained("image/retok-debug", photos, folder / str(drawn), *SMALL, length)
        tokens = tokenizer.encode(x)
        found[drawn] = {n: error(tokenizer.decode(tokens.first(positions=n)), x) for n in (1, 2, 4, 8)}
    return found


def test_each_token_adds_to_the_picture(errors):
    for drawn in (True, False):
        assert errors[drawn][8] < 0.85 * errors[drawn][1], errors
    assert errors[True][4] < 0.9 * errors[True][1], errors


def test_drawn_lengths_put_the_picture_into_the_first_tokens(errors):
    """ReTok (arXiv 2601.01535) and nested dropout: lengths drawn from 1 to all."""
    for n in (1, 2, 4, 8):
        figure = f"error of pixels, the first {n} of 8 tokens"
        effect("lengths drawn in training (ReTok)", figure, with_=errors[True][n], without=errors[False][n])
    for n in (1, 2, 4):
        assert errors[True][n] < errors[False][n], errors
