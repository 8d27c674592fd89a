"""A worker that does what the number of its order says, over the real protocol: for tests of the pool."""

import json
import os
import signal
import sys
import time
from pathlib import Path

from services.embedded.mark import Mark

mark = Mark(Path(json.loads(sys.stdin.readline())["mark"]))
for line in sys.stdin:
    order = json.loads(line)
    answer = {"error": "", "fatal": False}
    match order["location"]:
        case "crash":
            mark.set("killer.py")
            os.kill(os.getpid(), signal.SIGSEGV)
        case "hang":
            mark.set("endless.py")
            time.sleep(600)
        case "die":
            os._exit(7)
        case "fail":
            answer["error"] = "boom"
        case "full":
            answer = {"error": "disk full", "fatal": True}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
