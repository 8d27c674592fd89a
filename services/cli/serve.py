"""`quarry serve`: the API and the search page, on the data directory it owns while it runs."""

from argparse import Namespace
from contextlib import ExitStack, suppress

from services.core.settings import Settings
from services.embedded.access import own
from services.embedded.jobs import JobRunner
from services.embedded.launcher import Zygote
from services.embedded.server import listen, open_socket
from services.embedded.serving import web_app


def serve(arguments: Namespace, settings: Settings) -> int:
    """Serve until interrupted."""
    with ExitStack() as stack:
        zygote = Zygote(settings)
        stack.callback(zygote.close)
        owner = own(settings, "serve")
        stack.callback(owner.close)
        runner = JobRunner(owner, zygote)
        stack.callback(runner.stop)
        server = listen(web_app(owner, runner, arguments.host), arguments.host, arguments.port)
        stack.callback(server.close)
        stack.callback(open_socket(owner, runner).stop)
        runner.start(resume=True)
        print(f"Quarry serves {owner.home.root} on http://{arguments.host}:{server.port}", flush=True)
        with suppress(KeyboardInterrupt):
            server.run()
    return 0
