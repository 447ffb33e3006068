"""A real Prometheus that evaluates rules given by the test."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from support.environments import program
from support.processes import free_port, running


@contextmanager
def prometheus(folder: Path, metrics: Mapping[str, float], scraped: Sequence[str] = ()) -> Iterator[str]:
    """Its address, once it knows the metrics; it also watches itself, and those of `scraped` (`host:port`)."""
    command = program("prometheus", "install Debian's package prometheus, or put prometheus on the PATH")
    port = free_port()
    rules = [{"record": name, "expr": f"vector({value})"} for name, value in metrics.items()]
    groups = {"groups": [{"name": "tests", "interval": "1s", "rules": rules}]}
    (folder / "rules.yml").write_text(json.dumps(groups))  # JSON is YAML
    job = {"job_name": "itself", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
    jobs = [job, {"job_name": "scraped", "static_configs": [{"targets": list(scraped)}]}]
    config = {"global": {"scrape_interval": "1s"}, "rule_files": ["rules.yml"], "scrape_configs": jobs}
    (folder / "prometheus.yml").write_text(json.dumps(config))
    address = f"127.0.0.1:{port}"
    options = ["--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", f"--web.listen-address={address}"]
    with running("Prometheus", [command, *options], folder / "prometheus.log", cwd=folder) as process:
        process.wait_for_url(f"http://{address}/-/ready")
        for name in metrics:
            while b'"value"' not in process.wait_for_url(f"http://{address}/api/v1/query?query={quote(name)}"):
                pass
        yield f"http://{address}"
