"""SBER-MoVQGAN against the authors' outputs. Run: pytest tests/image/vqgan/test_movqgan.py"""

import pytest
from image_cases import check_case
from reference import load_io, reference_folder
from tokenzoo.zoo.convert import load_reference


@pytest.mark.parametrize("case", ["s0.", "s1."])
def test_reference(case):
    folder = reference_folder("image", "movqgan")
    check_case(load_reference(folder), load_io(folder), case, atol=5e-5)
