"""The image: its Dockerfile is sound, and what it runs runs as it would in a container. It is not built: that needs an engine."""

import fnmatch
import json
import os
import shlex
import subprocess

import pytest
from dockerfile_parse import DockerfileParser

from conftest import BINARY, ROOT, objects

STEPS = DockerfileParser(path=str(ROOT / "Dockerfile")).structure


def test_hadolint_finds_nothing():
    done = subprocess.run(["hadolint", ROOT / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_what_it_copies_is_there_and_is_sent_to_the_builder():
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignore
    allowed = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    sources = set()
    for step in STEPS:
        words = shlex.split(step["value"])
        if step["instruction"] == "COPY" and not any(word.startswith("--from") for word in words):
            sources |= {word.rstrip("/") for word in words[:-1] if not word.startswith("--")}
    assert sources == allowed
    assert all((ROOT / source).exists() for source in sources)
    for secret in ("countersign.key", "countersign.db", "target", ".git"):
        assert not any(fnmatch.fnmatch(secret, pattern) for pattern in allowed)


def test_it_is_built_with_the_rust_that_the_crate_asks_for():
    (version,) = [step["value"].split("=")[1] for step in STEPS if step["instruction"] == "ARG" and step["value"].startswith("RUST_VERSION")]
    assert f'rust-version = "{version}"' in (ROOT / "Cargo.toml").read_text()


def test_the_chart_runs_it_as_the_same_user(values):
    (user,) = [step["value"] for step in STEPS if step["instruction"] == "USER"]
    for kind in ("Deployment", "Job"):
        for document in objects(values, kind):
            context = document["spec"]["template"]["spec"]["securityContext"]
            assert f"{context['runAsUser']}:{context['runAsGroup']}" == user


def test_sqlite_has_a_place_for_temporary_files_where_the_root_is_read_only():
    (variable,) = [step["value"] for step in STEPS if step["instruction"] == "ENV"]
    (volume,) = [json.loads(step["value"]) for step in STEPS if step["instruction"] == "VOLUME"]
    assert [variable.removeprefix("SQLITE_TMPDIR=")] == volume


@pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and chroot need root")
def test_it_becomes_healthy_on_a_read_only_root_and_stops():
    done = subprocess.run([ROOT / "scripts/image-smoke", BINARY], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["healthy", "stopped"]
