"""A server that is still starting."""

from services.distributed.starting import Starting


def ask(front, path):
    answers = []
    body = b"".join(front({"PATH_INFO": path}, lambda status, headers: answers.append((status, dict(headers)))))
    return *answers[0], body


def test_a_server_that_is_starting_lives_but_is_not_ready_and_says_what_it_waits_for():
    front = Starting()
    front.waits_for = "PostgreSQL"

    assert ask(front, "/healthz")[0] == "200 OK"
    status, headers, body = ask(front, "/readyz")

    assert (status, headers["Retry-After"]) == ("503 Service Unavailable", "2")
    assert b"waits for PostgreSQL" in body


def test_once_started_the_application_answers():
    front = Starting()

    def app(_environ, start_response):
        start_response("200 OK", [])
        return [b"hits"]

    front.app = app

    assert ask(front, "/v1/search")[2] == b"hits"
