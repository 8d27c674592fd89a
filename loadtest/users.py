"""Who uses Quarry: people who search, people who index, forges that announce pushes.

Each user begins something at a constant rate, whatever the answers take. Locust makes sockets and
sleeps cooperative when it is imported: only a load generator may import this module.
"""

import itertools
import json
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlencode

from locust import FastHttpUser, constant_throughput, task

from loadtest.contract import breach
from loadtest.forge import Repositories
from loadtest.levels import Load
from loadtest.moving import WORD_FILE, new_word, word_file
from loadtest.plan import SECRET_VARIABLE, Plan
from loadtest.questions import Corpus, Question, ask, fault, found
from loadtest.recorder import Recorder
from loadtest.webhook import push_event

# How exactly the time until something is found is known.
_POLL_S = 0.1
_FOUND_LIMIT_S = 60.0
_SEED = 11
# Forges announce pushes to every branch and tag, and send events again: few change what is indexed.
_ANNOUNCED_PER_CHANGE = 50


class Failed(Exception):
    """An answer was wrong or did not come; it is recorded already."""


class User(FastHttpUser):
    """Sends requests whose answers are checked."""

    abstract = True
    network_timeout = 30.0
    connection_timeout = 10.0
    plan: ClassVar[Plan]
    recorder: ClassVar[Recorder]
    load: ClassVar[Load]
    numbers: ClassVar["itertools.count[int]"]

    @classmethod
    def configure(cls, plan: Plan, recorder: Recorder, load: Load) -> None:
        """Tell the class how many users it has and what they do."""
        cls.plan, cls.recorder, cls.load = plan, recorder, load
        cls.fixed_count = load.users
        cls.abstract = load.users == 0
        cls.host = plan.url
        cls.numbers = itertools.count()
        cls.wait_time = constant_throughput(load.each_per_s or 1.0)

    def on_start(self) -> None:
        """Begin out of step with the other users, so that what is offered is spread evenly."""
        self.number = next(self.numbers)
        time.sleep(self.number / self.load.per_s)
        # Locust paces from when the user was made, which would bring all of them into step again.
        self._cp_last_run = time.perf_counter()

    def send(self, entry: str, method: str, target: str, status: int = 200, **options: Any) -> dict[str, Any]:
        """Send a request, check its answer against the contract and return it.

        Raises:
            Failed: the answer is not what it must be.
        """
        with self.checked(entry, method, target, status, **options) as answer:
            return answer

    @contextmanager
    def checked(
        self,
        entry: str,
        method: str,
        target: str,
        status: int = 200,
        context: dict[str, Any] | None = None,
        **options: Any,
    ) -> Iterator[dict[str, Any]]:
        """As `send`, for a caller who knows more about the answer and raises `Failed` if it is wrong."""
        noted: dict[str, Any] = {} if context is None else context
        with self.client.request(method, target, name=entry, catch_response=True, **options) as response:
            response.request_meta["context"] = noted
            try:
                yield _answer(method, target, status, response)
            except Failed as failure:
                response.failure(str(failure))
                raise

    @contextmanager
    def timed(self, entry: str) -> Iterator[None]:
        """Record how long something took that is more than one request."""
        began, started, failure = time.time(), time.perf_counter(), None
        with self.recorder.under_way(entry):
            try:
                yield
            except Failed as error:
                failure = error
        took_ms = (time.perf_counter() - started) * 1e3
        self.environment.events.request.fire(
            request_type="ALL",
            name=entry,
            response_time=took_ms,
            response_length=0,
            response=None,
            context={},
            exception=failure,
            start_time=began,
            url=None,
        )


class SearchUser(User):
    """Asks what the corpus is known to answer."""

    corpus: ClassVar[Corpus]
    questions: ClassVar[Iterator[Question]]
    moving: ClassVar[frozenset[str]]

    @classmethod
    def prepare(cls, plan: Plan) -> None:
        """Generate the corpus and the questions all users draw from."""
        cls.corpus = plan.corpus()
        cls.questions = ask(cls.corpus, _SEED)
        cls.moving = frozenset(plan.moving())

    @task
    def search(self) -> None:
        """Ask the next question."""
        question = next(self.questions)
        parameters: dict[str, Any] = dict(question.parameters)
        if self.plan.scoped and "repo" not in parameters:
            parameters["repo"] = list(self.corpus.repos)
        target = "/v1/search?" + urlencode(parameters, doseq=True)
        context: dict[str, Any] = {}
        entry = f"search {question.kind}"
        try:
            with self.recorder.under_way(entry), self.checked(entry, "GET", target, context=context) as answer:
                if wrong := fault(question, answer, self.corpus, self.moving):
                    raise Failed(wrong)
                context["missed"] = not found(question, answer)
        except Failed:
            return


class Changer(User):
    """Changes a repository of its own, again and again."""

    abstract = True
    kind: ClassVar[str]

    def on_start(self) -> None:
        """Take the repository of this user's number."""
        super().on_start()
        self.repo = f"{self.plan.prefix}-{self.kind}-{self.number}"
        self.repositories = Repositories(Path(self.plan.repositories))
        self.rng = random.Random(f"{self.repo} {time.time()}")
        self.word = ""

    def change(self) -> tuple[str, str, str]:
        """Commit a new word in place of the last one; return that one and the commits before and after."""
        last, self.word = self.word, new_word(self.rng)
        before = self.repositories.git(self.repo, "rev-parse", "main")
        return last, before, self.repositories.commit(self.repo, {WORD_FILE: word_file(self.word)})

    def seen(self, entry: str, last: str, must: bool) -> bool:
        """Whether a search finds the new word.

        Raises:
            Failed: both words are found at once, or `must` and the new one is not.
        """
        target = "/v1/search?" + urlencode({"q": self.word, "repo": self.repo})
        with self.checked(entry, "GET", target) as answer:
            texts = [hit["text"] for hit in answer["hits"] if hit["path"] == WORD_FILE]
            there = any(self.word in text for text in texts)
            if there and last and any(last in text for text in texts):
                raise Failed("what was replaced is found beside what replaced it")
            if must and not there:
                raise Failed("what was indexed is not found")
        return there


class IndexUser(Changer):
    """Has a changed repository indexed, waits for the job, and looks for the change."""

    kind = "index"

    @task
    def index(self) -> None:
        """Change, ask for an index, follow the job, search."""
        last, _, _ = self.change()
        with self.timed("index to found"):
            body = {"source": self.plan.source(self.repo), "name": self.repo}
            queued = self.send("POST /v1/repos", "POST", "/v1/repos", 202, json=body)
            self._follow(queued["job"]["id"])
            self.seen("search for index", last, must=True)

    def _follow(self, job: int) -> None:
        give_up = time.monotonic() + _FOUND_LIMIT_S
        while time.monotonic() < give_up:
            state = self.send("GET /v1/jobs/{id}", "GET", f"/v1/jobs/{job}")
            if state["state"] == "done":
                return
            if state["state"] not in ("queued", "running"):
                raise Failed(f"job {job} is {state['state']}: {state['error']}")
            time.sleep(_POLL_S)
        raise Failed(f"job {job} had not ended after {_FOUND_LIMIT_S:.0f} s")


class PushUser(Changer):
    """Pushes to a repository, announces it by a signed webhook, and looks until the change is found."""

    kind = "push"

    @task
    def push(self) -> None:
        """Change, announce, search until it is found."""
        last, before, after = self.change()
        secret = os.environ.get(SECRET_VARIABLE, "")
        body, headers = push_event(secret, self.plan.source(self.repo), before, after)
        with self.timed("push to found"):
            entry = "POST /v1/webhooks/github"
            self.send(entry, "POST", "/v1/webhooks/github", 202, data=body, headers=headers)
            give_up = time.monotonic() + _FOUND_LIMIT_S
            while not self.seen("search for push", last, must=False):
                if time.monotonic() > give_up:
                    raise Failed(f"the push was not found after {_FOUND_LIMIT_S:.0f} s")
                time.sleep(_POLL_S)


class WebhookUser(Changer):
    """Announces pushes by signed webhooks; most of them tell of a commit that is indexed already."""

    kind = "webhook"

    def on_start(self) -> None:
        """Begin with the commit that is there."""
        super().on_start()
        self.before = self.after = self.repositories.git(self.repo, "rev-parse", "main")
        self.announced = self.number

    @task
    def announce(self) -> None:
        """Announce a push; every so often one has changed something."""
        self.announced += 1
        if self.announced % _ANNOUNCED_PER_CHANGE == 0:
            _, self.before, self.after = self.change()
        secret = os.environ.get(SECRET_VARIABLE, "")
        body, headers = push_event(secret, self.plan.source(self.repo), self.before, self.after)
        entry = "POST /v1/webhooks/github"
        with suppress(Failed), self.recorder.under_way(entry):
            self.send(entry, "POST", "/v1/webhooks/github", 202, data=body, headers=headers)


def _answer(method: str, target: str, status: int, response: Any) -> dict[str, Any]:
    if not response.status_code:
        raise Failed(f"no answer: {getattr(response, 'error', None)!r}")
    if response.status_code != status:
        raise Failed(f"status {response.status_code} instead of {status}: {response.text[:200]}")
    try:
        answer = json.loads(response.content)
    except ValueError as error:
        raise Failed(f"the answer is not JSON: {error}") from error
    if problem := breach(method, target.partition("?")[0], status, answer):
        raise Failed(problem)
    return dict(answer)
