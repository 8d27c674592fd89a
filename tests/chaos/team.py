"""A team at work while Quarry loses its parts: people who push, and people who search."""

import random
import threading
import time
from collections import Counter, defaultdict

from loadtest.corpus import generate, source
from loadtest.moving import new_word
from loadtest.templates import LANGUAGES
from tests.api_client import Client

# One file of every repository holds this word and one that each push replaces: exactly one hit, whatever happens.
MARKER, MARKER_FILE = "zqmarker", "src/marker.py"
_FILE_BYTES = 900
_RETRY_S = 0.1
_LOOK_S = 0.05


def marker_file(word):
    return f'{MARKER} = "{word}"\n'


class Team:
    """Repositories at a forge that change; `pushed` is what was announced, as (revision, when, word) by repository."""

    def __init__(self, forge, api, secret, names, *, files, seed=1):
        self._forge, self._api, self._secret = forge, api, secret
        self._rng = random.Random(seed)
        self.contents = {name: self._first_files(files, number) for number, name in enumerate(names)}
        self.pushed = defaultdict(list)
        self.redelivered = 0

    def join(self):
        """Index every repository for the first time."""
        for name, files in self.contents.items():
            self._record(name, self._forge.commit(name, files))
        jobs = [self._api.submit(self._forge.url(name), name).document["job"]["id"] for name in self.contents]
        for job in jobs:
            self._api.done(job)

    def push(self, name, share):
        """Change a share of a repository's files: rewrite, add, delete, rename; announce it until it is taken."""
        revision = self._forge.commit(name, self._change(name, share))
        self._record(name, revision)
        self.announce(name)

    def announce(self, name):
        """Send a webhook as often as it takes: its forge, or whoever runs it, would."""
        while not self._taken(name):
            self.redelivered += 1
            time.sleep(_RETRY_S)

    def tips(self):
        """Return the revision that each repository has at the forge."""
        return {name: pushes[-1][0] for name, pushes in self.pushed.items()}

    def words(self, name):
        """Return what the marker file says, by revision."""
        return {revision: word for revision, _, word in self.pushed[name]}

    def _taken(self, name):
        url = self._forge.url(name)
        try:
            return self._api.push("github", self._secret, url, "0" * 40, self.pushed[name][-1][0]).status == 202
        except OSError:
            return False

    def _record(self, name, revision):
        word = self.contents[name][MARKER_FILE].split('"')[1]
        self.pushed[name].append((revision, time.monotonic(), word))

    def _first_files(self, files, seed):
        return dict(generate(files, seed, _FILE_BYTES)) | {MARKER_FILE: marker_file(new_word(self._rng))}

    def _change(self, name, share):
        now, rng = self.contents[name], self._rng
        paths = sorted(now.keys() - {MARKER_FILE})
        touched = rng.sample(paths, max(1, int(len(paths) * share)))
        change = {MARKER_FILE: marker_file(new_word(rng))}
        for path in touched:
            what = rng.random()
            if what < 0.6:
                change[path] = self._text(path)
            elif what < 0.8:
                folder, _, file = path.rpartition("/")
                change |= {path: None, f"{folder}/moved_{rng.randrange(10**6)}_{file}": now[path]}
            else:
                change |= {path: None, f"src/new_{rng.randrange(10**9)}.py": self._text("new.py")}
        self.contents[name] = {path: text for path, text in (now | change).items() if text is not None}
        return change

    def _text(self, path):
        language = next(each for each in LANGUAGES if path.endswith(f".{each.extension}"))
        return source(self._rng, language, _FILE_BYTES)


class _Busy:
    """Whoever does something from a thread while a block runs: `_run`, until `_stop` is set."""

    def __enter__(self):
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=type(self).__name__.lower())
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


class Pushing(_Busy):
    """Pushes until the block ends: one repository every `every_s`, or all whenever nothing waits."""

    def __init__(self, team, api, *, every_s=0.0, share):
        self._team, self._api, self._every_s, self._share = team, api, every_s, share
        self.pushes = 0

    def _run(self):
        rng, names = random.Random(7), list(self._team.contents)
        while not self._stop.is_set():
            for name in [rng.choice(names)] if self._every_s else self._idle(names):
                self._team.push(name, self._share)
                self.pushes += 1
            self._stop.wait(self._every_s or _RETRY_S)

    def _idle(self, names):
        """Return the repositories without a job."""
        try:
            repos = self._api.call("GET", "/v1/repos").document.get("repos", [])
        except OSError:
            return []
        return [repo["name"] for repo in repos if repo["name"] in names and not repo["job"]]


class Watching(_Busy):
    """Searches all the time, and notes when pushes go live and whatever an answer should not be.

    `fresh_s` are the seconds from each push to the moment it was live. `wrong` must stay empty.
    """

    def __init__(self, team, url):
        self._team, self._api = team, Client(url)
        self._seen = {name: len(pushes) - 1 for name, pushes in team.pushed.items()}
        self.fresh_s, self.wrong, self.statuses = [], [], Counter()

    def _run(self):
        while not self._stop.is_set():
            for name in list(self._team.contents):
                self._search(name)
            self._stop.wait(_LOOK_S)

    def _search(self, name):
        try:
            answer = self._api.call("GET", f"/v1/search?q={MARKER}&mode=lexical&repo={name}&limit=20")
        except (OSError, ValueError):
            # The API itself was killed.
            self.statuses["none"] += 1
            return
        self.statuses[str(answer.status)] += 1
        if answer.status == 503:
            return
        hits = [hit for hit in answer.document.get("hits", ()) if MARKER in hit["text"]]
        words = self._team.words(name)
        expected = [marker_file(words.get(hit["revision"])) for hit in hits]
        if answer.status != 200 or len(hits) != 1 or hits[0]["text"] != expected[0]:
            self.wrong.append(f"{name}: {answer.status} {answer.document}")
        else:
            self._note(name, hits[0]["revision"])

    def _note(self, name, revision):
        """Note how long each push took that is live now."""
        pushes = self._team.pushed[name]
        live = next(number for number, push in enumerate(pushes) if push[0] == revision)
        for _, at, _ in pushes[self._seen[name] + 1 : live + 1]:
            self.fresh_s.append(time.monotonic() - at)
        self._seen[name] = max(self._seen[name], live)
