"""`quarry serve`: the API and the search page, on the data directory it owns while it runs."""

from argparse import Namespace

from services.core.settings import Settings
from services.embedded.access import own
from services.embedded.jobs import JobRunner
from services.embedded.launcher import Zygote
from services.embedded.server import listen
from services.embedded.serving import open_socket, web_app


def serve(arguments: Namespace, settings: Settings) -> int:
    """Serve until interrupted."""
    zygote = Zygote(settings)
    owner = own(settings, "serve")
    runner = JobRunner(owner, zygote)
    try:
        server = listen(web_app(owner, runner, arguments.host), arguments.host, arguments.port)
        socket = open_socket(owner, runner)
        runner.start(resume=True)
        print(f"Quarry serves {owner.home.root} on http://{arguments.host}:{server.effective_port}", flush=True)
        try:
            server.run()
        finally:
            socket.stop()
            server.close()
    finally:
        runner.stop()
        owner.close()
        zygote.close()
    return 0
