import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.evidence import coherence, cover, of_files

WORDS = st.frozensets(st.sampled_from("abcde"))


def test_a_word_that_every_candidate_has_counts_less_than_a_rare_one():
    common, rare, both, none = cover(("app", "auth"), [frozenset(s.split()) for s in ("app", "auth", "app auth", "")])
    crowd = cover(("app", "auth"), [frozenset(["app"])] * 9 + [frozenset(["auth"])])

    assert none == 0 < common == rare < both == pytest.approx(1.0)
    assert crowd[-1] > crowd[0]


@given(st.lists(st.sampled_from("abcde"), unique=True), st.lists(WORDS))
def test_a_share_lies_between_0_and_1_and_is_0_without_words(words, said):
    shares = cover(words, said)

    assert len(shares) == len(said)
    assert all(0 <= share <= 1 + 1e-9 for share in shares)
    assert words or not any(shares)


def test_the_candidates_of_a_file_speak_together():
    files = [("r", "a.py"), ("r", "b.py"), ("r", "a.py"), ("s", "a.py")]

    together = of_files(files, [frozenset(w) for w in ("x", "y", "z", "v")])

    assert together == [frozenset("xz"), frozenset("y"), frozenset("xz"), frozenset("v")]


def test_the_file_with_most_of_the_score_has_1_and_the_others_their_share():
    shares = coherence([(("r", "a"), 0.5), (("r", "b"), 0.5), (("r", "b"), 0.5), (("s", "a"), 0.0)])

    assert shares == {("r", "a"): 0.5, ("r", "b"): 1.0, ("s", "a"): 0.0}


def test_without_a_score_there_is_no_coherence():
    assert coherence([]) == coherence([(("r", "a"), 0.0)]) == {}
