"""`make audit`: the list of what the product is made of, and what is known against it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from support.environments import missing

from scripts import audit
from scripts.lock import ROOT, split_lock


def test_the_list_is_the_locks(tmp_path: Path) -> None:
    try:
        listed = audit.build_sbom()
    except audit.AuditError as error:
        missing("the package index", str(error))
    assert (listed["bomFormat"], listed["specVersion"]) == ("CycloneDX", "1.5")
    found = {f"{one['name']}=={one['version']}" for one in listed["components"]}
    blocks = split_lock((ROOT / audit.SERVING).read_text())
    assert found <= {block.split()[0] for _, block in blocks}
    assert {name for name, _ in blocks} - {one.split("==")[0] for one in found} >= {"uv", "hatchling", "editables"}
    assert len(found) > 100
    hashes = [each for one in listed["components"] for place in one["externalReferences"] for each in place["hashes"]]
    assert len(hashes) > len(found)
    assert any(one["dependsOn"] for one in listed["dependencies"] if one.get("dependsOn"))


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        pytest.param(
            [{"name": "a", "version": "1", "vulns": []}], 0, "1 packages asked about, 0 known", id="nothing known"
        ),
        pytest.param(
            [{"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}],
            1,
            "a 1: CVE-1, mended in 2",
            id="known",
        ),
        pytest.param(
            [{"name": "a", "version": "1", "vulns": []}, {"name": "b", "skip_reason": "not there"}],
            0,
            "not asked about: b",
            id="some not asked",
        ),
        pytest.param(
            [{"name": "b", "skip_reason": "not there"}], 0, "could not be asked, of any package", id="none asked"
        ),
        pytest.param(None, 0, "could not be asked, of any package (no way to the feed)", id="no feed"),
    ],
)
def test_what_is_known_is_printed_and_fails(
    packages: list[dict[str, Any]] | None,
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tool = tmp_path / "python"
    printed = (
        "sys.exit('no way to the feed')" if packages is None else f"print({json.dumps({'dependencies': packages})!r})"
    )
    tool.write_text(f"#!{sys.executable}\nimport sys\n{printed}\n")
    tool.chmod(0o755)
    monkeypatch.setattr(audit, "install_pip_audit", lambda folder: tool)
    monkeypatch.setattr(audit, "build_sbom", lambda: {"components": []})
    monkeypatch.setattr(audit, "SBOM", tmp_path / "dist" / "interlock.cdx.json")
    assert audit.main() == code
    assert said in capsys.readouterr().out
    assert json.loads(audit.SBOM.read_text()) == {"components": []}
