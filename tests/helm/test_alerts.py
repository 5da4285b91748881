"""Alerts and dashboard: Prometheus takes them, they fire when they should, and they ask for metrics that exist."""

import json
import re
import shutil
import subprocess

import yaml

from conftest import CHART, ROOT, SETS, objects, template

OPERATIONS = (ROOT / "docs/operations.md").read_text()
DASHBOARD = json.loads((CHART / "files/dashboard.json").read_text())
(RULES,) = objects("postgres-ha", "PrometheusRule")
ALERTS = [rule for group in RULES["spec"]["groups"] for rule in group["rules"]]


def metrics() -> dict[str, set[str]]:
    """The metrics there are, with their labels, by the table in docs/operations.md."""
    rows = re.findall(r"^\| `((?:countersign|process)_\w+)` \| (\w+) \|([^|]*)\|", OPERATIONS, re.M)
    assert len(rows) > 25
    found = {}
    for name, kind, labels in rows:
        for suffix in ("", "_bucket", "_sum", "_count") if kind == "histogram" else ("",):
            found[name + suffix] = set(re.findall(r"`(\w+)`", labels)) | ({"le"} if suffix == "_bucket" else set())
    return found


def queries() -> list[str]:
    panels = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
    variables = [variable["query"]["query"] for variable in DASHBOARD["templating"]["list"] if variable["type"] == "query"]
    return panels + variables + [rule["expr"] for rule in ALERTS]


def test_every_metric_that_is_asked_for_exists():
    known = metrics()
    for query in queries():
        for name in re.findall(r"\b(?:countersign|process)_\w+", re.sub(r'"[^"]*"', "", query)):
            assert name in known, f"{name} in {query}"


def test_every_label_that_is_asked_for_exists():
    known = metrics()
    scraped = {"namespace", "job", "pod"}
    for query in queries():
        for name, selector in re.findall(r"\b((?:countersign|process)_\w+)\{([^}]*)\}", query):
            assert set(re.findall(r"(\w+)\s*[=!]~?\s*\"", selector)) <= known[name] | scraped, query
    # What alerts write of a series, it has.
    for rule in ALERTS:
        for label in re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])):
            assert label in scraped | {"kind"}


def test_what_matters_is_on_the_dashboard():
    shown = {name for query in queries() for name in re.findall(r"\bcountersign_\w+", query)}
    missing = {name for name in metrics() if name.startswith("countersign_") and not name.endswith(("_sum", "_count"))} - shown
    assert {name for name in missing if f"{name}_bucket" not in metrics()} == set()


def test_the_dashboard_is_one_that_can_be_read():
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["fieldConfig"]["defaults"]["unit"] and panel["title"]
    (config,) = [document for document in objects("postgres-ha", "ConfigMap") if document["metadata"]["name"].endswith("-dashboard")]
    assert json.loads(config["data"]["countersign.json"]) == DASHBOARD


def test_prometheus_takes_alerts_and_queries(tmp_path):
    panels = [
        {"record": f"panel:{i}", "expr": target["expr"].replace("$__rate_interval", "5m")}
        for i, target in enumerate(target for panel in DASHBOARD["panels"] for target in panel.get("targets", []))
    ]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [*RULES["spec"]["groups"], {"name": "dashboard", "rules": panels}]}))
    done = subprocess.run(["promtool", "check", "rules", tmp_path / "rules.yaml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(ALERTS) + len(panels)} rules found" in done.stdout


def test_alerts_fire_when_they_should(tmp_path):
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(RULES["spec"]))
    shutil.copy(ROOT / "tests/helm/alerts.yaml", tmp_path)
    done = subprocess.run(["promtool", "test", "rules", tmp_path / "alerts.yaml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_says_what_to_do():
    headings = {heading.lower() for heading in re.findall(r"^#+ (\w+)$", OPERATIONS, re.M)}
    for rule in ALERTS:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert {"summary", "description", "runbook_url"} == set(rule["annotations"])
        assert rule["annotations"]["runbook_url"].endswith(f"#{rule['alert'].lower()}")
        assert rule["alert"].lower() in headings, f"docs/operations.md says nothing of {rule['alert']}"


def time_left_to_certificates(*arguments) -> str:
    """What the alert of certificates that end compares with."""
    text = template("--values", SETS["gateway-tls"], *arguments)
    return re.search(r"countersign_tls_certificate_expiry_timestamp_seconds\{.*\}\) - time\(\) < (.+)", text)[1]


def test_the_alert_of_certificates_fires_after_they_should_have_been_renewed():
    assert time_left_to_certificates() == str(80 * 3600 // 2)
    assert time_left_to_certificates("--set", "tls.certManager.renewBefore=1h30m") == str(90 * 60 // 2)
    month = ("--set", "tls.certManager.duration=2160h", "--set", "tls.certManager.renewBefore=720h")
    assert time_left_to_certificates(*month) == "14 * 86400"


def age_of_signing_keys(*arguments) -> str | None:
    """What the alert of old signing keys compares with, if there is one."""
    text = template("--set", "metrics.prometheusRule.enabled=true", *arguments)
    found = re.search(r"countersign_signing_key_age_seconds\{.*\}\) > (\d+)", text)
    return found and found[1]


def test_the_alert_of_old_signing_keys_follows_their_rotation():
    assert age_of_signing_keys() == str(90 * 86400 * 11 // 10)
    assert age_of_signing_keys("--set", "config.tokens.rotate_every=30d") == str(30 * 86400 * 11 // 10)
    assert age_of_signing_keys("--set", "config.tokens.rotate_every=0s") is None
