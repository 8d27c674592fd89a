"""Service levels: what is held, what is not, what is known to be right, and what is sent."""

import itertools
import json
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest import recorder, run
from loadtest.contract import breach
from loadtest.levels import Gate, Profile, profiles
from loadtest.plan import Plan
from loadtest.questions import KINDS, Corpus, Size, ask, fault, found
from loadtest.recorder import Recorder
from loadtest.report import store, table
from loadtest.sla import Sample, Traffic, document, judge
from loadtest.target import stack_environment, webhook_secret
from loadtest.webhook import push_event, signature

_GATE = Gate(p50_ms=10, p95_ms=20, p99_ms=30, requests=50, failures=0.01, missed=0.1, rate=0.95)
_OFFERED = {"search": 10.0}
_SIZE = Size(repos=2, files=60, mean_bytes=900)


def _traffic(*changed, count=100, cpu=0.2):
    """Traffic of ten seconds at ten a second, 5 ms each; `changed` are samples in place of the last ones."""
    good = [Sample("search", 1000 + number / 10, 5.0) for number in range(count - len(changed))]
    return Traffic([*good, *changed], 1000.0, 1010.0, cpu)


def _problems(traffic, gate=_GATE):
    return judge(traffic, {"search": gate}, _OFFERED).problems


def test_what_keeps_every_limit_is_held():
    verdict = judge(_traffic(), {"search": _GATE}, _OFFERED)

    assert verdict.held
    assert verdict.problems == ()
    assert verdict.entries[0].achieved_per_s == 10.0


@pytest.mark.parametrize(
    ("traffic", "problem"),
    [
        (_traffic(*[Sample("search", 1009, 15.0)] * 50, Sample("search", 1009, 15.0)), "p50_ms 15, at most 10"),
        (_traffic(*[Sample("search", 1009, 25.0)] * 6), "p95_ms 25, at most 20"),
        (_traffic(*[Sample("search", 1009, 900.0)] * 2), "p99_ms 900, at most 30"),
        (_traffic(*[Sample("search", 1009, 1.0, "wrong")] * 2), "failures 0.02, at most 0.01"),
        (_traffic(*[Sample("search", 1009, 1.0, missed=True)] * 11), "missed 0.11, at most 0.1"),
        (_traffic(count=94), "rate 0.94, at least 0.95"),
        (_traffic(count=40), "requests 40, at least 50"),
        (_traffic(*[Sample("search", 1009, 5.0)] * 6, count=106), "106 requests are more than was offered"),
        (_traffic(cpu=0.95), "load generator used 95%"),
        (_traffic(cpu=float("nan")), "load generator used nan"),
        (_traffic(Sample("other", 1009, 1.0)), "other: has no gate"),
        (Traffic([], 1000.0, 1010.0, 0.0), "nothing was asked"),
    ],
)
def test_whatever_breaks_a_limit_is_named(traffic, problem):
    assert any(problem in said for said in _problems(traffic)), _problems(traffic)


def test_a_gate_that_nothing_came_to_is_not_held():
    verdict = judge(_traffic(), {"search": _GATE, "index": replace(_GATE, rate=0.0)}, _OFFERED)

    assert verdict.problems == ("index: nothing was asked",)
    assert json.dumps(document(verdict), allow_nan=False)


def test_warm_up_and_what_began_after_the_window_do_not_count():
    early = [Sample("search", 999.9, 9000.0, "cold")] * 50
    late = [Sample("search", 1010.0, 9000.0, "late")] * 50
    traffic = _traffic()

    assert _problems(replace(traffic, samples=[*early, *traffic.samples, *late])) == ()


def test_fast_failures_do_not_make_a_slow_server_quick():
    failed = [Sample("search", 1005, 0.1, "refused")] * 60
    slow = [Sample("search", 1005, 15.0)] * 40

    problems = _problems(Traffic([*failed, *slow], 1000.0, 1010.0, 0.1), replace(_GATE, failures=1.0))

    assert any("p50_ms 15" in problem for problem in problems)


@given(st.lists(st.floats(0.1, 1e4), min_size=50, max_size=200), st.integers(0, 3))
def test_one_slower_answer_never_turns_a_run_from_not_held_to_held(times, number):
    samples = [Sample("search", 1000.0, took) for took in times]
    slower = [*samples[:number], replace(samples[number], took_ms=1e5), *samples[number + 1 :]]
    before, after = (_problems(Traffic(each, 1000.0, 1005.0, 0.0)) for each in (samples, slower))

    assert not (before and not after)


@pytest.mark.parametrize("profile", profiles().values(), ids=lambda profile: f"{profile.target}-{profile.name}")
def test_every_level_gates_all_that_it_offers_and_can_be_reached(profile):
    offered = profile.offered()

    assert offered.keys() <= profile.gates.keys()
    for entry, gate in profile.gates.items():
        assert gate.p50_ms <= gate.p95_ms <= gate.p99_ms, entry
        assert gate.requests >= 1, entry
        if entry in offered:
            assert 0.5 <= gate.rate <= 1, entry
            assert gate.requests <= offered[entry] * profile.window_s, entry
        assert gate.failures == 0 or entry == "GET /v1/jobs/{id}", entry


def test_short_and_full_are_there_for_both_targets():
    assert profiles().keys() >= set(itertools.product(("embedded", "stack"), ("short", "full")))


def test_a_profile_and_a_plan_are_read_as_they_were_written(tmp_path):
    profile = profiles()["embedded", "short"]
    plan = Plan(profile, "http://127.0.0.1:1", "load", "/r", "/r/{name}.git", "/s.json", scoped=True)

    plan.write(tmp_path / "plan")

    assert Profile.read(asdict(profile)) == profile
    assert Plan.read(tmp_path / "plan") == plan


def test_questions_are_the_same_for_a_seed_and_of_every_kind_in_its_share():
    corpus = Corpus.make(_SIZE, "load")
    questions = list(itertools.islice(ask(corpus, 1), len(KINDS)))

    assert questions == list(itertools.islice(ask(corpus, 1), len(KINDS)))
    assert [question.kind for question in questions] == KINDS
    for question in questions:
        text = corpus.repos[question.repo][question.path]
        assert question.parameters["q"].partition(": ")[0] in text


def _answer(question, corpus, **changes):
    text = corpus.repos[question.repo][question.path]
    language = {"py": "python", "go": "go", "ts": "typescript", "java": "java", "rs": "rust"}[
        question.path.rpartition(".")[2]
    ]
    lines = text.split("\n")
    hit = {"repo": question.repo, "path": question.path, "start_line": 1, "end_line": 3, "language": language}
    hit |= {"text": "\n".join(lines[:3])} | changes
    return {"query": question.parameters["q"], "hits": [hit], "damaged": 0, "truncated": False}


def test_a_right_answer_has_no_fault():
    corpus = Corpus.make(_SIZE, "load")
    question = next(ask(corpus, 1))
    answer = _answer(question, corpus)

    assert fault(question, answer, corpus) == ""
    assert found(question, answer)
    assert not found(question, answer | {"hits": []})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"text": "nothing of the file"}, "does not have there"),
        ({"text": " \n"}, "does not have there"),
        ({"start_line": 2}, "does not have there"),
        ({"path": "no/such.py"}, "corpus does not have"),
        ({"repo": "nobody's"}, "corpus does not have"),
        ({"language": "cobol"}, "another language"),
    ],
)
def test_a_hit_that_the_corpus_does_not_have_is_a_fault(changes, said):
    corpus = Corpus.make(_SIZE, "load")
    question = next(ask(corpus, 1))

    assert said in fault(question, _answer(question, corpus, **changes), corpus)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"lang": "elixir"}, "another language"),
        ({"path": "elsewhere/**"}, "outside the path"),
        ({"repo": "load-9"}, "another repository"),
    ],
)
def test_a_hit_that_a_filter_excludes_is_a_fault(parameters, said):
    corpus = Corpus.make(_SIZE, "load")
    question = next(ask(corpus, 1))
    filtered = replace(question, parameters=question.parameters | parameters)

    assert said in fault(filtered, _answer(question, corpus), corpus)


@pytest.mark.parametrize("changes", [{"query": "another"}, {"damaged": 1}, {"truncated": True}, {"matches": 7}])
def test_an_answer_that_is_not_whole_is_a_fault(changes):
    corpus = Corpus.make(_SIZE, "load")
    question = replace(next(ask(corpus, 1)), matches=1)
    whole = _answer(question, corpus) | {"matches": 1}

    assert fault(question, whole, corpus) == ""
    assert fault(question, whole | changes, corpus) != ""


@pytest.mark.parametrize(
    ("method", "path", "status", "body", "said"),
    [
        ("GET", "/healthz", 200, {"status": "ok"}, ""),
        ("GET", "/healthz", 200, {}, 'answer: "status" is'),
        ("GET", "/healthz", 418, {}, "not in the contract"),
        ("GET", "/v1/repos/team/app", 404, {"error": {"code": "not_found", "message": "no"}}, ""),
        ("GET", "/v1/jobs/7", 200, {"id": "7"}, 'answer: "repo" is'),
        ("GET", "/v1/repos", 200, {"repos": {}}, "repos: "),
    ],
)
def test_answers_are_held_against_the_contract(method, path, status, body, said):
    assert said in breach(method, path, status, body)
    assert bool(said) == bool(breach(method, path, status, body))


def test_what_is_under_way_at_the_end_has_failed():
    seen = Recorder(warm_up_s=0.0, window_s=10.0)
    seen.begin()
    with seen.under_way("ended"):
        pass
    with pytest.raises(ValueError, match="wrong"), seen.under_way("failed"):
        raise ValueError("wrong")
    with pytest.raises(KeyboardInterrupt), seen.under_way("killed"):
        raise KeyboardInterrupt

    assert [(sample.entry, sample.error) for sample in seen.traffic().samples] == [
        ("killed", "it had not ended when the run did")
    ]


def test_samples_are_read_as_they_were_written(tmp_path):
    traffic = _traffic(Sample("search", 1001.0, 2.0, "wrong", True))

    recorder.write(traffic, tmp_path / "samples")

    assert recorder.read(tmp_path / "samples") == traffic


def test_a_result_says_what_machine_commit_and_load_it_is_of(tmp_path):
    plan = Plan(profiles()["embedded", "short"], "http://127.0.0.1:1", "load", "/r", "/r/{name}.git", "/s.json")
    verdict = judge(_traffic(count=90), {"search": _GATE}, _OFFERED)

    record = json.loads(store(plan, _traffic(), verdict, tmp_path).read_text())

    assert record["machine"]["cores"] >= 1
    assert len(record["source"]["commit"]) == 40
    assert record["held"] is False
    assert [entry["offered_per_s"] for entry in record["entries"]] == [10.0]
    assert {check["figure"]: check["held"] for check in record["entries"][0]["checks"]}["rate"] is False


def test_a_table_marks_what_is_not_held():
    text = table(judge(_traffic(count=90), {"search": _GATE}, _OFFERED))

    assert "! 0.9 ≥ 0.95" in text
    assert "not held: search: rate 0.9, at least 0.95" in text


def test_a_push_is_signed_as_github_documents_it():
    # The example of GitHub's own documentation of webhooks.
    expected = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"

    assert signature("It's a Secret to Everybody", b"Hello, World!") == expected


def test_a_push_event_names_repository_branch_and_commits():
    body, headers = push_event("s", "http://127.0.0.1:9/team/app.git", "a" * 40, "b" * 40)
    event = json.loads(body)

    assert (event["ref"], event["before"], event["after"]) == ("refs/heads/main", "a" * 40, "b" * 40)
    assert event["repository"]["full_name"] == "team/app"
    assert event["repository"]["clone_url"] == "http://127.0.0.1:9/team/app.git"
    assert headers["X-Hub-Signature-256"] == signature("s", body)
    assert headers["X-GitHub-Delivery"] != push_event("s", "http://h/a.git", "", "")[1]["X-GitHub-Delivery"]


def test_the_stack_is_found_by_the_assignments_it_leaves(tmp_path):
    (tmp_path / "env").write_text("# stack\nexport QUARRY_URL='http://127.0.0.1:8080'\nQUARRY_X=\"a b\"\n")

    assert stack_environment(tmp_path / "env") == {"QUARRY_URL": "http://127.0.0.1:8080", "QUARRY_X": "a b"}
    assert stack_environment(tmp_path / "missing") == {}


def test_the_secret_of_pushes_is_read_from_a_file_or_the_environment(tmp_path):
    (tmp_path / "secret").write_text("from the file\n")

    assert webhook_secret({"QUARRY_WEBHOOK_SECRET": "s"}) == "s"
    assert webhook_secret({"QUARRY_WEBHOOK_SECRET_FILE": str(tmp_path / "secret")}) == "from the file"
    assert webhook_secret({}) == ""


@pytest.mark.enable_socket
def test_a_stack_that_does_not_answer_is_one_line_and_a_status_of_its_own(capsys, monkeypatch):
    monkeypatch.setenv("QUARRY_WEBHOOK_SECRET", "s")

    status = run.main(["--target", "stack", "--url", "http://127.0.0.1:9"])

    assert status == 2
    assert "http://127.0.0.1:9 failed" in capsys.readouterr().err
