import pytest

from services.api.paths import path_words
from services.api.places import coverage, path_boost, repo_boost, subject_boost, word_rarity
from services.api.query import understand
from services.api.words import stem


def test_short_forms_and_joined_words_match_paths():
    assert coverage(stem("configuration"), path_words("src/config.py")) == 1.0
    assert path_boost(understand("rate limiter"), path_words("ratelimiter.go"), {"rate": 1.0, "limit": 1.0}) > 0
    assert path_boost(understand("ratelimiter"), path_words("rate_limiter.go"), {stem("ratelimiter"): 1.0}) > 0


def test_a_folder_stands_for_its_index_file():
    assert (
        coverage("handl", path_words("src/handler/mod.rs")) == 1.0 > coverage("handl", path_words("src/handler/x.rs"))
    )


def test_a_word_that_every_path_has_counts_less_than_a_rare_one():
    rarity = word_rarity(("app", "auth"), ["app/a.py", "app/b.py", "app/auth.py"])

    assert rarity["auth"] > rarity["app"] > 0


def test_a_file_whose_whole_name_the_query_says_beats_one_with_more_to_its_name():
    query = understand("response headers")

    index, whole, part, none = (
        subject_boost(query, path_words(path))
        for path in ("http/response/index.ts", "http/response.py", "http/response_cache.py", "http/x.py")
    )

    assert index == whole == 1.0 > part > none == 0.0


def test_a_repository_is_named_by_its_words_and_not_by_forms_of_them():
    assert repo_boost(understand("flask blueprints"), "pallets/flask") == 1 > repo_boost(understand("flask"), "django")
    assert repo_boost(understand("send a request"), "psf/requests") == 0
    assert repo_boost(understand("lazy nvim plugins"), "lazy.nvim") == 1


@pytest.mark.parametrize(
    ("word", "expected"),
    [("configur", 0.5), ("conf", 0.5), ("con", 0.0), ("configurator", 0.5), ("confirm", 0.0), ("xy", 0.0)],
)
def test_a_longer_or_shorter_form_covers_half_from_four_letters_on(word, expected):
    assert coverage(word, path_words("src/configura.py")) == expected
