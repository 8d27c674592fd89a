import pytest

from services.api.explain import explain


@pytest.mark.parametrize(
    ("rules", "text"),
    [
        ({"fused": 1.0, "path": 0.25, "name": 0.0, "kind": 0.3}, "(fused 1.00 + path 0.25) x kind 0.30"),
        ({"fused": 0.5, "subject": 0.51, "kind": 1.0, "same_file": 1.0}, "subject 0.51 + fused 0.50"),
        ({"fused": 1.0, "kind": 1.0, "same_file": 0.49}, "(fused 1.00) x same_file 0.49"),
        ({"fused": 1.0, "same_file": 0.5, "rerank": -0.125}, "(fused 1.00) x same_file 0.50 -0.12 rerank"),
        ({"fused": 0.0}, "0.00"),
    ],
)
def test_an_explanation_names_what_did_something_and_how_the_score_comes_of_it(rules, text):
    assert explain(rules) == text
