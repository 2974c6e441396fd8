"""The positional encoding."""

import math

import torch

from nerfgen_ns.fields.encoding import PositionalEncoding


def test_known_values():
    encoded = PositionalEncoding(2)(torch.tensor([0.5, 0.25, -1.0]))

    x, y, z = 0.5, 0.25, -1.0
    expected = [x, y, z]
    for function in (math.sin, math.cos):
        for frequency in (math.pi, 2 * math.pi):
            expected += [function(frequency * value) for value in (x, y, z)]
    torch.testing.assert_close(encoded, torch.tensor(expected), atol=1e-6, rtol=0)


def test_output_dim_is_the_length_of_an_encoded_point():
    for octaves in (0, 1, 6):
        encoding = PositionalEncoding(octaves)
        assert encoding(torch.zeros(4, 5, 3)).shape == (4, 5, encoding.output_dim)


def test_each_octave_has_twice_the_frequency_of_the_one_before():
    encoding = PositionalEncoding(5)
    point = torch.rand(7, 3)
    sines = slice(3, 3 + 15)
    assert torch.allclose(encoding(2 * point)[:, sines][:, :12], encoding(point)[:, sines][:, 3:], atol=1e-4)
