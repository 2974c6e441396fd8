"""Queries: what is as similar as a cosine says, and belongs to what is looked for."""

import pytest
import torch

from nerfgen_ns.errors import NerfgenError
from nerfgen_ns.fields.query import Query, best_similarity, similarity


def test_similarity_is_the_cosine_whatever_the_length_and_nothing_below_zero() -> None:
    query = Query(torch.tensor([1.0, 0.0]))
    features = torch.tensor([[3.0, 0.0], [1.0, 1.0], [0.0, 2.0], [-1.0, 0.0], [0.0, 0.0]])
    expected = torch.tensor([1.0, 0.5**0.5, 0.0, 0.0, 0.0])
    torch.testing.assert_close(similarity(features, query), expected)
    torch.testing.assert_close(similarity(0.01 * features, query), expected)


def test_members_are_those_at_least_as_similar_as_the_threshold() -> None:
    query = Query(torch.tensor([1.0, 0.0]), threshold=0.7)
    features = torch.tensor([[[1.0, 0.0], [1.0, 1.0]], [[1.0, 2.0], [0.0, 0.0]]])
    assert query.members(features).tolist() == [[True, True], [False, False]]


def test_a_query_of_several_features_is_their_mean_direction() -> None:
    query = Query.of_features(torch.tensor([[4.0, 0.0], [0.0, 1.0]]))
    torch.testing.assert_close(query.feature, torch.tensor([0.5**0.5, 0.5**0.5]))
    with pytest.raises(NerfgenError):
        Query.of_features(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))


def test_an_object_is_as_good_as_its_best_places() -> None:
    values = torch.cat([torch.zeros(190), torch.full((10,), 0.9)])
    assert float(best_similarity(values)) == pytest.approx(0.9)
    assert float(best_similarity(torch.tensor([0.2, 0.4]))) == pytest.approx(0.3)
    assert float(best_similarity(torch.zeros(0))) == 0.0
