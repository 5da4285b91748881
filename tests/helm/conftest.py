"""What the tests share: the chart, Helm, and what it renders of the value sets in the chart's ci/."""

import functools
import os
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm/countersign"
HELM = ROOT / "target/tools/helm"
BINARY = Path(os.environ.get("COUNTERSIGN_BIN", ROOT / "target/debug/countersign")).resolve()
# The value sets, by name.
SETS = {path.name.removesuffix("-values.yaml"): path for path in sorted((CHART / "ci").glob("*-values.yaml"))}


def helm(*arguments, stdin: str | None = None) -> subprocess.CompletedProcess:
    """Runs Helm, which reads nothing of the user's."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "HELM_CACHE_HOME": "/nonexistent"}
    return subprocess.run([HELM, *arguments], input=stdin, env=environment, capture_output=True, text=True, timeout=60)


def template(*arguments, stdin: str | None = None) -> str:
    """What the chart renders, as a release of its own name in a namespace of its own."""
    done = helm("template", "auth", CHART, "--namespace", "identity", *arguments, stdin=stdin)
    assert done.returncode == 0, done.stderr
    return done.stdout


@functools.cache
def rendered(name: str) -> str:
    """What the chart renders of a value set."""
    return template("--values", SETS[name])


def parsed(text: str, kind: str | None = None) -> list[dict]:
    """The objects in what was rendered; of one kind, if it is given."""
    everything = [document for document in yaml.safe_load_all(text) if document]
    return [document for document in everything if kind in (None, document["kind"])]


def objects(name: str, kind: str | None = None) -> list[dict]:
    """The objects that a value set renders to; of one kind, if it is given."""
    return parsed(rendered(name), kind)


@pytest.fixture(params=SETS)
def values(request) -> str:
    """Each value set by its name."""
    return request.param
