"""ValidateCredential of a credential that is known, beside the echo."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from ..result import Row, middle, ratio
from ..service import Database, Echo, Program, Service
from ..tools import GRPC_FRAME, ask, h2load, request_body
from .scale import Scale

CALLS = 1000
"""By a client that reads the answers, before and after."""


@dataclass
class Question:
    """About one credential, to the service and to an echo of its answer."""

    credentials: Path
    body: Path
    answer_bytes: int
    """The longest that a VALID answer is."""
    echo: Echo
    echo_bytes: int


def prepare(database: Database, service: Service, name: str, credential: str) -> Question:
    credentials = database.same(name, credential, CALLS)
    answer = database.directory / f"{name}.answer"
    found = ask(service.address, credentials, CALLS, save=answer)
    body = database.directory / f"{name}.request"
    body.write_bytes(request_body(credential))
    return Question(credentials, body, found["bytes"][1] + GRPC_FRAME, Echo(answer), answer.stat().st_size + GRPC_FRAME)


def per_second(scale: Scale, program: Program, body: Path, answer_bytes: int) -> float:
    warm = h2load(program.address, body, scale.warm_calls, answer_bytes)
    calls = max(scale.warm_calls, int(warm * scale.seconds))
    return h2load(program.address, body, calls, answer_bytes)


def throughput(scale: Scale, database: Database) -> list[Row]:
    runs = defaultdict(list)
    with database.serve() as service:
        token = database.register(service, 1)[1][0]["access_token"]
        key = service.post("keys", {"name": "bench"}, token)["secret"]
        questions = {name: prepare(database, service, name, text) for name, text in (("token", token), ("key", key))}
        with questions["token"].echo, questions["key"].echo:
            for _ in scale.each():
                for name, question in questions.items():
                    echo = per_second(scale, question.echo, question.body, question.echo_bytes)
                    runs[f"{name}, echo"].append(echo)
                    runs[name].append(per_second(scale, service, question.body, question.answer_bytes))
        for question in questions.values():
            ask(service.address, question.credentials, CALLS)
    return [
        Row(
            f"ValidateCredential, cached {name} ÷ bare tonic echo",
            database.kind,
            ratio(runs[name], runs[f"{name}, echo"]),
            bound=0.90,
            at_least=True,
            of=f"{middle(runs[name])} ÷ {middle(runs[f'{name}, echo'])} a second",
            raw={"per_second": runs[name], "echo_per_second": runs[f"{name}, echo"]},
        )
        for name in questions
    ]
