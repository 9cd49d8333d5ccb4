"""The files of examples/operating: each is what the program that reads it takes, and names what there is."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from disklog_mp import _options
from disklog_mp._metrics.exposition import HISTOGRAMS, ROWS
from disklog_mp.cli import commands
from integrations.scrapes import OPERATING, tool

UNITS = sorted(file.name for file in OPERATING.glob("*.service"))
INSTALLED = "/opt/disklog-mp/bin/disklog-mp"
FAMILIES = {name: kind for kind, name, *_ in ROWS} | {name: "histogram" for name, *_ in HISTOGRAMS}
ENDS = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
SAMPLES = {name + end for name, kind in FAMILIES.items() for end in ENDS[kind]}


def run(*command: str | Path, cwd: Path) -> tuple[int, str]:
    """Run a command; its exit code and all that it printed."""
    done = subprocess.run(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.returncode, done.stdout


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """With the program where this environment has it; a key that systemd does not know fails it."""
    analyze = tool("systemd-analyze")
    program = Path(sys.executable).with_name("disklog-mp")
    for unit in UNITS:
        text = (OPERATING / unit).read_text()
        assert INSTALLED in text
        (tmp_path / unit).write_text(text.replace(INSTALLED, str(program)))
    paths = [f"./{unit}" for unit in UNITS]
    assert run(analyze, "verify", "--man=no", *paths, cwd=tmp_path) == (0, "")

    wrong = tmp_path / UNITS[0]
    wrong.write_text(wrong.read_text().replace("Type=notify", "Tyqe=notify"))
    assert "Tyqe" in run(analyze, "verify", "--man=no", *paths, cwd=tmp_path)[1]


def words_of(command: str) -> list[str]:
    """The arguments behind the program in a unit's or container's command."""
    return command.split()[1:]


def command_lines() -> list[list[str]]:
    """The arguments of every disklog-mp that a file of this folder starts."""
    units = "".join((OPERATING / unit).read_text() for unit in UNITS)
    found = [words_of(line) for line in re.findall(r"^ExecStart=(.*)$", units, re.MULTILINE)]
    image = re.search(r"^CMD (.*)$", (OPERATING / "Dockerfile").read_text(), re.MULTILINE)
    assert image is not None
    found.append(json.loads(image[1]))
    found.append(documents("compose.yaml")[0]["services"]["writer"]["command"])
    for file in ("kubernetes-sidecar.yaml", "kubernetes-hostpath.yaml"):
        for container in containers(file):
            found += [container["args"]] if "args" in container else []
            if "startupProbe" in container:
                found.append(container["startupProbe"]["exec"]["command"][1:])
    return found


def documents(file: str) -> list[Any]:
    """What a YAML file holds."""
    return list(yaml.safe_load_all((OPERATING / file).read_text()))


def containers(file: str) -> list[dict[str, Any]]:
    """The containers of all pods of a file."""
    found = []
    for document in documents(file):
        spec = document["spec"].get("template", document)["spec"]
        found += [*spec.get("initContainers", []), *spec.get("containers", [])]
    return found


@pytest.mark.parametrize("words", command_lines(), ids=" ".join)
def test_the_commands_are_ours(words: list[str]) -> None:
    """Each has the arguments and options that its command takes."""
    import click

    command = commands.get_command(click.Context(commands), words[0])
    assert command is not None
    command.make_context(words[0], list(words[1:]))


def test_the_variables_are_ours() -> None:
    """DISKLOG_MP_... names an option, and its value is one."""
    text = "".join(file.read_text() for file in OPERATING.iterdir())
    found = re.findall(r"DISKLOG_MP_([A-Z_]+)(?:=|: |\n +value: )\"?([^\s\"\\]+)", text)
    assert len(found) >= 10
    for name, value in found:
        option = name.lower()
        assert option in {*_options.CHECKS, "ring_dir", "label"}, name
        if option in _options.CHECKS:
            _options.check({option: value})


def test_the_logs_of_the_configuration() -> None:
    """Each option is one, with a value that it may have."""
    told = tomllib.loads((OPERATING / "logs.toml").read_text())
    assert len(told["log"]) == 3
    for log in [told["defaults"], *told["log"]]:
        options = {key: value for key, value in log.items() if key not in ("name", "path", "group")}
        _options.check(options)


def test_all_containers_of_a_pod_have_the_ring() -> None:
    """At the place that the variable names; the ring's volume is memory, or the node's."""
    for file, kind in (("kubernetes-sidecar.yaml", "emptyDir"), ("kubernetes-hostpath.yaml", "hostPath")):
        for container in containers(file):
            variables = {each["name"]: each.get("value") for each in container["env"]}
            mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            assert mounts[variables["DISKLOG_MP_RING_DIR"]] == "ring"
        for document in documents(file):
            spec = document["spec"].get("template", document)["spec"]
            volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
            assert not volumes or kind in volumes["ring"]
    ring = next(
        it for it in documents("kubernetes-sidecar.yaml")[0]["spec"]["volumes"] if it["name"] == "ring"
    )
    assert ring["emptyDir"]["medium"] == "Memory"
    compose = documents("compose.yaml")[0]
    for service in compose["services"].values():
        assert f"ring:{service['environment']['DISKLOG_MP_RING_DIR']}" in service["volumes"]


def test_promtool_takes_rules_and_configuration(tmp_path: Path) -> None:
    """The alerts fire when alerts_test.yml says so; with another bound that fails."""
    promtool = tool("promtool")
    for file in OPERATING.glob("*.yml"):
        shutil.copy(file, tmp_path)
    for words in (["check", "rules", "alerts.yml"], ["check", "config", "prometheus.yml"]):
        code, said = run(promtool, *words, cwd=tmp_path)
        assert code == 0, said
    code, said = run(promtool, "test", "rules", "alerts_test.yml", cwd=tmp_path)
    assert code == 0, said

    alerts = tmp_path / "alerts.yml"
    text = alerts.read_text()
    names = re.findall(r"alert: (\w+)", text)
    tested = (OPERATING / "alerts_test.yml").read_text()
    assert all(name in tested for name in names)
    alerts.write_text(text.replace("> 0.5", "> 0.7"))
    code, said = run(promtool, "test", "rules", "alerts_test.yml", cwd=tmp_path)
    assert code != 0
    assert "DisklogRingHalfFull" in said


def test_dashboard_and_alerts_ask_for_metrics_that_there_are() -> None:
    """Each name in an expression is a sample's."""
    dashboard = json.loads((OPERATING / "dashboard.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = [rule for group in documents("alerts.yml")[0]["groups"] for rule in group["rules"]]
    asked += [rule["expr"] for rule in rules]
    used = {name for expression in asked for name in re.findall(r"\bdisklog_\w+", expression)}

    assert used <= SAMPLES
    assert len(used) >= 20
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"]) == 14
