"""What happens to the parts of a stack: killed, stopped in good order, all at once; each is started again."""

import random
import threading
import time
from collections import Counter

from tests.stack import PROCESSES, WORKERS

# Between two faults of one part, so that they hit it at work, waiting, and as soon as it is back.
_PAUSE_S = (0.0, 3.0)


class Faults:
    """Faults of a stack; `counts` says how many of each there were, `stop_s` how long good stops took."""

    def __init__(self, stack, seed=1):
        self._stack, self._rng = stack, random.Random(seed)
        self.counts, self.stop_s = Counter(), []

    def trees(self, times, kinds=WORKERS):
        """Kill each kind of worker with all its children, again as soon as it is back."""
        self._each(kinds, lambda kind: self._repeat(times, kind, self._kill_tree))

    def children(self, times, kinds=WORKERS):
        """Kill single processes of the workers' pools."""
        self._each(kinds, lambda kind: self._repeat(times, kind, self._kill_child))

    def rolling(self, times, kinds=WORKERS):
        """Restart each kind of worker in good order."""
        for _ in range(times):
            self._each(kinds, self._restart)

    def server(self, name, times):
        """Kill a server and start it again on its data."""
        for _ in range(times):
            self._pause()
            self._stack.restart_server(name)
            self.counts[f"server {name}"] += 1
            self.revive()

    def freeze(self, name, seconds):
        """Keep a server from answering, without ending it or its connections."""
        with self._stack.frozen(name):
            time.sleep(seconds)
        self.counts[f"frozen {name}"] += 1

    def process(self, name, times):
        """Kill the sweeper or the API and start it again."""
        self._repeat(times, name, self._kill_tree)

    def revive(self):
        """Start what has ended by itself, as whoever runs the stack does."""
        self.counts.update(f"ended by itself: {name}" for name in self._stack.revive())

    def everything(self, times):
        """Kill every process and every server at once, as a power cut does; then start them all."""
        for _ in range(times):
            self._pause()
            for name in PROCESSES:
                self._stack.kill(name)
            for name in self._stack.servers:
                self._stack.stop_server(name)
            for name in self._stack.servers:
                self._stack.start_server(name)
            for name in PROCESSES:
                self._stack.run(name)
            self._stack.wait_until_ready()
            self.counts["everything"] += 1

    def _kill_tree(self, name):
        self._stack.kill(name)
        self._stack.run(name)
        self._stack.wait_until_ready(name)
        self.counts[f"tree {name}" if name in WORKERS else name] += 1

    def _kill_child(self, kind):
        while not self._stack.kill_child(kind):
            time.sleep(0.05)
        self.counts[f"child {kind}"] += 1

    def _restart(self, kind):
        self.stop_s.append(self._stack.terminate(kind))
        self._stack.run(kind)
        self._stack.wait_until_ready(kind)
        self.counts[f"stop {kind}"] += 1

    def _repeat(self, times, name, fault):
        for _ in range(times):
            self._pause()
            fault(name)

    def _pause(self):
        time.sleep(self._rng.uniform(*_PAUSE_S))

    def _each(self, kinds, act):
        """Do it to all kinds at the same time; what goes wrong with one is raised."""
        failed = []

        def run(kind):
            try:
                act(kind)
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=run, args=(kind,)) for kind in kinds]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]
