from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.fusion import K, blend, fuse, scale

A, B, C = (UUID(int=i) for i in range(3))


def test_a_point_in_both_lists_beats_one_that_is_first_in_one():
    fused = fuse([(1.0, [(A, 0.9), (B, 0.8)]), (1.0, [(C, 7.0), (B, 6.0)])])

    assert max(fused, key=fused.get) == B
    assert fused[A] == pytest.approx(1 / (K + 1))


def test_a_heavier_list_decides_between_its_first_and_the_other_ones_first():
    fused = fuse([(0.6, [(A, 0.9)]), (1.4, [(B, 3.0)])])

    assert fused[B] > fused[A]


def test_equal_scores_share_their_rank_whatever_their_order():
    one, other = fuse([(1.0, [(A, 1.0), (B, 1.0)])]), fuse([(1.0, [(B, 1.0), (A, 1.0)])])

    assert one == other
    assert one[A] == one[B] == pytest.approx(1 / (K + 1.5))


@given(st.lists(st.lists(st.integers(0, 30), unique=True, max_size=20), max_size=4))
def test_scaled_scores_lie_between_0_and_1_and_keep_their_order(rankings):
    fused = fuse([(1.0, [(UUID(int=i), -rank) for rank, i in enumerate(ranking)]) for ranking in rankings])
    scaled = scale(fused)

    assert all(0 < score <= 1 for score in scaled.values())
    assert sorted(fused, key=fused.get) == sorted(scaled, key=scaled.get)


def test_a_point_far_ahead_in_the_lexical_list_overtakes_and_one_that_is_just_ahead_does_not():
    fused = {A: 1.0, B: 0.9, C: 0.2}

    ahead = blend(fused, [(B, 30.0), (A, 3.0)], 0.4)
    close = blend(fused, [(B, 30.0), (A, 29.0)], 0.4)

    assert ahead[B] == 1.0 > ahead[A]
    assert close[A] == 1.0 > close[B]


def test_scores_that_are_off_or_missing_change_nothing():
    fused = {A: 1.0, B: 0.5}

    assert blend(fused, [(B, 30.0)], 0.0) == blend(fused, [], 0.4) == fused


def test_a_list_of_no_weight_has_no_candidates():
    assert fuse([(0.0, [(A, 1.0)]), (1.0, [(B, 1.0)])]).keys() == {B}
