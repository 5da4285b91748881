"""The values are described where they stand; the README's table and the schema agree with them."""

import json
import os
import re

import pytest
import yaml

from conftest import CHART, template

VALUES = CHART / "values.yaml"
README = CHART / "README.md"
BEGIN, END = "<!-- The table is written by UPDATE_GOLDEN=1 make helm, from values.yaml. -->\n", "<!-- End of the table. -->\n"


def described() -> dict[str, str]:
    """The values with a comment above them, by path."""
    found, path, comment = {}, [], ""
    for line in VALUES.read_text().split("\n\n", 1)[1].splitlines():
        if text := re.match(r"\s*# (.*)", line):
            comment = text[1]
        elif key := re.match(r"( *)(\w+):", line):
            path = [*path[: len(key[1]) // 2], key[2]]
            if comment:
                found[".".join(path)] = comment
            comment = ""
        else:
            comment = ""
    return found


def leaves(values: dict, known: dict, prefix="") -> dict:
    """The values that are no maps of described ones, by path."""
    found = {}
    for key, value in values.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and any(other.startswith(f"{path}.") for other in known):
            found |= leaves(value, known, f"{path}.")
        else:
            found[path] = value
    return found


def table() -> str:
    known = described()
    default = leaves(yaml.safe_load(VALUES.read_text()), known)
    lines = ["| value | default | meaning |", "| --- | --- | --- |"]
    for path, meaning in known.items():
        if path in default:
            lines.append(f"| `{path}` | `{json.dumps(default[path])}` | {meaning} |")
        else:
            lines.append(f"| `{path}` | | {meaning} |")
    return "\n".join(lines) + "\n"


def test_every_value_is_described():
    known = described()
    assert set(leaves(yaml.safe_load(VALUES.read_text()), known)) - set(known) == set()


def test_the_readme_has_the_table_of_values():
    before, rest = README.read_text().split(BEGIN)
    after = rest.split(END)[1]
    text = f"{before}{BEGIN}\n{table()}\n{END}{after}"
    if os.environ.get("UPDATE_GOLDEN"):
        README.write_text(text)
    assert README.read_text() == text, "UPDATE_GOLDEN=1 make helm"


def test_the_schema_knows_every_value_and_no_other():
    schema = json.loads((CHART / "values.schema.json").read_text())

    def resolve(node: dict) -> dict:
        return schema["definitions"][node["$ref"].split("/")[-1]] if "$ref" in node else node

    def same(values: dict, node: dict, path: str):
        node = resolve(node)
        assert node.get("additionalProperties") is False, f"{path} is open"
        # `global` is Helm's.
        assert set(node["properties"]) - {"global"} == set(values), path
        for key, value in values.items():
            child = resolve(node["properties"][key])
            if isinstance(value, dict) and value and child.get("additionalProperties") is False and key not in ("config", "resources"):
                same(value, child, f"{path}.{key}")

    same(yaml.safe_load(VALUES.read_text()), schema, "values")


def test_the_sections_of_the_configuration_are_those_of_the_document():
    schema = json.loads((CHART / "values.schema.json").read_text())
    document = (CHART.parents[1] / "docs/configuration.md").read_text()
    sections = {name.split(".")[0] for name in re.findall(r"^\| `(\w+\.[^`]+)` \|", document, re.M)}
    assert set(schema["properties"]["config"]["properties"]) == sections


def guide() -> list[str]:
    """The examples of values in the guide."""
    return re.findall(r"^```yaml\n(.*?)^```", (CHART.parents[1] / "docs/kubernetes.md").read_text(), re.M | re.S)


def test_the_guide_has_examples():
    assert len(guide()) > 6


@pytest.mark.parametrize("example", guide())
def test_the_examples_of_the_guide_render(example):
    template("--values", "-", stdin=example)
