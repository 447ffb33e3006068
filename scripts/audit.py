"""What the product is made of, and what is known against it: `make audit`.

Writes a CycloneDX list of all that requirements.lock pins for serving, with hashes and what wants what, and has
pip-audit ask about every lock whose packages we run or hand out. Exit code 1 where something is known, or the list
cannot be made; where the feed cannot be asked, that is printed, and is no failure.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.lock import ROOT, split_lock

SBOM = ROOT / "dist" / "interlock.cdx.json"
SERVING = "requirements.lock"
TOOL = ROOT / "scripts" / "pip-audit.txt"
AUDITED = ("requirements-dev.lock", "deploy/mcp-proxy/mcp-proxy.txt", "deploy/mcp-proxy/prometheus-mcp-server.txt")


class AuditError(Exception):
    """There is no list, and the message says why."""


@dataclass
class Finding:
    """What the feed says of one lock."""

    reason: str = ""
    """Why nothing, or not all, could be asked."""
    asked: int = 0
    skipped: list[str] = field(default_factory=list)
    """Packages that the feed said nothing about."""
    known: list[str] = field(default_factory=list)
    """A line for each vulnerability."""


def main() -> int:
    """The exit code."""
    SBOM.parent.mkdir(exist_ok=True)
    listed = build_sbom()
    SBOM.write_text(json.dumps(listed, indent=2) + "\n")
    print(f"{os.path.relpath(SBOM, ROOT)}: {len(listed['components'])} packages of {SERVING}")
    with tempfile.TemporaryDirectory() as folder:
        python = install_pip_audit(Path(folder))
        findings = {name: audit(python, ROOT / name) for name in AUDITED}
    print("\n".join(describe(name, finding) for name, finding in findings.items()))
    return 1 if any(finding.known for finding in findings.values()) else 0


def build_sbom() -> Mapping[str, Any]:
    """The CycloneDX document, in the versions of the lock. Raises AuditError."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = [block.partition("\\")[0].strip() for _, block in split_lock((ROOT / SERVING).read_text())]
    fields = ("name", "version", "requires-python", "dependencies")
    lines = ["[project]", *(f"{name} = {json.dumps(project[name])}" for name in fields)]
    lines += ["[tool.uv]", "package = false", f"constraint-dependencies = {json.dumps(pins)}"]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "pyproject.toml").write_text("\n".join(lines) + "\n")
        uv = [sys.executable, "-m", "uv", "--quiet", "--project", folder]
        if subprocess.run([*uv, "lock"], check=False).returncode:
            raise AuditError("the list of packages could not be made: uv says why above")
        export = [*uv, "export", "--frozen", "--format", "cyclonedx1.5"]
        return json.loads(subprocess.run(export, stdout=subprocess.PIPE, check=True).stdout)


def install_pip_audit(folder: Path) -> Path:
    """The Python of an environment of its own in the folder. Raises AuditError."""
    python = folder / "bin" / "python"
    install = ["pip", "install", "--python", str(python), "--no-deps", "--require-hashes"]
    for command in (
        ["venv", "--clear", "--python", sys.executable, str(folder)],
        [*install, "--requirement", str(TOOL)],
    ):
        if subprocess.run([sys.executable, "-m", "uv", "--quiet", *command], check=False).returncode:
            raise AuditError(f"pip-audit could not be installed from {TOOL.relative_to(ROOT)}: uv says why above")
    return python


def audit(python: Path, lock: Path) -> Finding:
    """What pip-audit finds out about the packages of a lock; nothing is asked of those that it could not find."""
    command = [str(python), "-m", "pip_audit", "--requirement", str(lock), "--no-deps", "--disable-pip"]
    command += ["--require-hashes", "--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    finding = Finding(reason=done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "")
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return finding
    for package in packages:
        if "skip_reason" in package:
            finding.skipped.append(package["name"])
            finding.reason = package["skip_reason"]
            continue
        finding.asked += 1
        for one in package["vulns"]:
            fixed = ", ".join(one["fix_versions"]) or "no version yet"
            finding.known.append(f"{package['name']} {package['version']}: {one['id']}, mended in {fixed}")
    return finding


def describe(name: str, finding: Finding) -> str:
    """The finding in words, a line or several."""
    if not finding.asked:
        return f"{name}: the feed of known vulnerabilities could not be asked, of any package ({finding.reason})"
    lines = [f"{name}: {finding.asked} packages asked about, {len(finding.known)} known vulnerabilities"]
    lines += [f"  {line}" for line in finding.known]
    lines += [f"  not asked about: {', '.join(finding.skipped)}"] if finding.skipped else []
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except AuditError as error:
        sys.exit(str(error))
