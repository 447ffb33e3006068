"""Load a folder of configs into one checked snapshot, or report every problem in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from graphs.config.compile_access import compile_access, find_unknown_hints
from graphs.config.compile_cases import CaseFile, KnownNames, compile_cases
from graphs.config.compile_cassettes import Cassette, compile_cassette
from graphs.config.compile_graph import compile_graph
from graphs.config.graph_plan import GraphPlan
from graphs.config.python_code import PYTHON_FOLDER, PythonCode
from graphs.config.reader import AnySpec, ParsedFile, read_spec
from graphs.config.references import (
    Pattern,
    ToolReference,
    collect_node_references,
    collect_rule_references,
    collect_server_patterns,
)
from graphs.config.role_checks import find_denied_calls, find_unknown_notified_roles, find_unknown_roles
from graphs.config.schema_files import SchemaFiles, is_schema_file
from graphs.config.secrets import collect_secrets, find_environment_secrets, find_secret_variables
from graphs.config.server_checks import check_servers, describe_idle_pattern
from graphs.config.source import Path as At
from graphs.config.source import Source, build_excerpt, mask_random, parse_yaml
from graphs.config.spec.access import AccessSpec, KeySpec
from graphs.config.spec.cases import CaseFileSpec, is_case_file
from graphs.config.spec.cassettes import CassetteSpec
from graphs.config.spec.gateway import GatewaySpec
from graphs.config.spec.graph import GraphSpec, get_graph_spec
from graphs.config.spec.identities import IdentitiesSpec
from graphs.config.spec.python import PythonNodeSpec
from graphs.config.spec.servers import ServerSpec, ServersSpec
from graphs.config.subgraph_checks import link_subgraphs
from graphs.config.templates import ServerTemplate, Templates, compile_templates, render_braces
from graphs.config.watcher import Signature, compute_signature
from graphs.errors import ConfigError, FolderMissing, Position, Problem, did_you_mean
from graphs.policy import patterns
from graphs.policy.rules import Policy
from graphs.redaction import Redaction

FILES = ("gateway.yaml", "servers.yaml", "access.yaml")
"""The files of a config folder, beside its graphs."""
SHIPPED = "shipped default"
"""What stands before the name of a file, in every position, that the folder does not have."""
_MAX_BYTES = 4_000_000


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The checked content of a config folder. Two snapshots with the same id have the same content."""

    id: str
    folder: Path
    gateway: GatewaySpec
    servers: Mapping[str, ServerSpec]
    """Without the disabled ones; paths are absolute."""
    server_templates: Mapping[str, ServerTemplate]
    """Of every `per_user` server: its settings, to be filled in for a caller."""
    policy: Policy
    keys: tuple[KeySpec, ...]
    identities: IdentitiesSpec
    graphs: Mapping[str, GraphPlan]
    server_positions: Mapping[str, Position]
    """Of every server in servers.yaml, in order, of disabled ones too."""
    key_positions: Mapping[str, Position]
    role_positions: Mapping[str, Position]
    models_position: Position
    storage_position: Position
    embedding_positions: Mapping[str, Position]
    """Where each graph that embeds its memory names the model."""
    destination_positions: Mapping[str, Position]
    """Of every destination of notifications."""
    secrets_digest: str = field(repr=False)
    """A digest of the secrets that the files name: it alone changes where the value of a key does."""
    redaction: Redaction = field(compare=False, repr=False)
    """Makes copies of arguments without the secrets of these files."""
    tool_references: tuple[ToolReference, ...]
    """The tool patterns of rules and nodes, and the arguments that conditions name."""
    server_patterns: Mapping[str, tuple[Pattern, ...]]
    """The patterns under `include` and `exclude`, by server: over its own names of tools."""
    doubts: tuple[Problem, ...]
    """What graphs say of servers that servers.yaml does not have: they may be to come, so that the files are served."""
    notes: tuple[Problem, ...]
    """What rules say of such servers, and what anything says of those that are switched off: right, and idle now."""
    texts: Mapping[str, str] = field(repr=False)
    """The files as they are written."""
    signature: Signature = field(compare=False, repr=False)
    """Of the folder, from before it was read: what is saved later differs from it."""
    case_files: tuple[CaseFile, ...] = field(default=(), repr=False)
    """The tests beside the graphs, where they were asked for: they are not served."""
    cassettes: Mapping[str, Cassette] = field(default_factory=dict[str, Cassette], repr=False)
    """The cassettes of those tests, by file; those that are not recorded yet are missing."""
    python_texts: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """The operator's Python by the names of its files without `.py`; empty where no graph calls any."""
    schema_files: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    """What the schema files hold that graphs name, by their paths in the folder."""
    shipped_files: tuple[str, ...] = ()
    """The files that the folder does not have, and whose shipped defaults stand in: `access.yaml`, in order."""

    def build_problem(self, position: Position, message: str) -> Problem:
        """Return a problem at a position of these files, with its line for an excerpt."""
        file, line, column = position.file, position.line, position.column
        return Problem(file, line, column, message, excerpt=build_excerpt(self.texts.get(file, ""), line, column))


def load(
    folder: Path,
    env: Mapping[str, str],
    *,
    with_cases: bool = False,
    with_cassettes: bool = True,
    imports_python: bool = True,
) -> Snapshot:
    """Read and check all files of `folder`; the shipped default stands in for a file that is absent.

    `with_cases`: the tests beside the graphs too, which are not needed to serve them, and `with_cassettes` what was
    recorded for these. `imports_python`: the files that `python` nodes name are imported, which runs them; a snapshot
    without them can be compared, not served. Raises ConfigError with every problem of all files.
    """
    if not folder.is_dir():
        raise FolderMissing(folder)
    try:
        return _Loader(folder.absolute(), env, with_cases, with_cases and with_cassettes, imports_python).load()
    except OSError as error:
        message = f"the folder cannot be read: {error.strerror} ({error.filename})"
        raise ConfigError([Problem(str(folder), 0, 0, message)]) from error


def load_storage(folder: Path, env: Mapping[str, str]) -> str:
    """Read `storage` of the folder's gateway.yaml, whatever is wrong in the rest of the files; empty where it is not
    set. Raises ConfigError where it cannot be read."""
    if not folder.is_dir():
        raise FolderMissing(folder)
    return _Loader(folder.absolute(), env, False, False, False).load_storage()


@dataclass
class _Loader:
    folder: Path
    env: Mapping[str, str]
    with_cases: bool
    with_cassettes: bool
    imports_python: bool
    problems: list[Problem] = field(default_factory=list[Problem])
    doubts: list[Problem] = field(default_factory=list[Problem])
    notes: list[Problem] = field(default_factory=list[Problem])
    sources: list[Source] = field(default_factory=list[Source])
    texts: dict[str, str] = field(default_factory=dict[str, str])
    """The files by name, as they are written: nothing of the environment is in them."""
    cassettes: dict[str, Cassette] = field(default_factory=dict[str, Cassette])
    python_texts: dict[str, str] = field(default_factory=dict[str, str])
    """The operator's Python, by the names of its files without `.py`."""
    schema_files: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What the schema files hold that graphs name, by their paths in the folder."""
    shipped_files: list[str] = field(default_factory=list[str])
    """Those that the folder does not have."""

    def load(self) -> Snapshot:
        seen = compute_signature(self.folder)
        self._check_names()
        gateway = self._read_file("gateway.yaml", GatewaySpec)
        servers = self._read_file("servers.yaml", ServersSpec)
        access = self._read_file("access.yaml", AccessSpec)
        allowed = compile_access(access)
        self.problems += allowed.problems
        graphs = self._read_graphs()
        self._check_gateway(gateway, list(graphs))
        self._check_servers(servers, access, graphs)
        self.problems += find_unknown_hints(access, allowed.conditions, servers)
        self.problems += find_unknown_roles(access, [reading for reading, _ in graphs.values()])
        self.problems += find_unknown_notified_roles(access, gateway)
        case_files = self._read_cases(graphs, access, servers)
        texts, wrong = compile_templates(servers)
        self.problems += wrong
        plans = {name: made for name, (_, made) in graphs.items() if made is not None}
        if allowed.policy is not None and not access.problems:
            for reading, plan in graphs.values():
                for is_mistake, problem in find_denied_calls(plan, reading.source, allowed.policy) if plan else ():
                    (self.problems if is_mistake else self.notes).append(problem)
        if (
            self.problems
            or gateway.spec is None
            or servers.spec is None
            or access.spec is None
            or allowed.policy is None
        ):
            raise ConfigError(self._complete(self.problems), self._complete(self.doubts))
        confided = find_secret_variables(
            (text for name, text in self.texts.items() if not name.startswith(PYTHON_FOLDER)), self.env
        )
        entries = {name: spec.mark_secret_values(confided) for name, spec in servers.spec.mcpServers.items()}
        secrets = collect_secrets(gateway.spec, entries.values(), access.spec.keys, self.env) | confided
        if self.python_texts:  # it reads variables that no file names
            secrets |= find_environment_secrets(self.env)
        settled = {name: self._resolve_paths(spec, texts[name]) for name, spec in entries.items() if not spec.is_off}
        return Snapshot(
            id=self._compute_digest(),
            folder=self.folder,
            gateway=gateway.spec,
            servers=settled,
            server_templates={
                name: ServerTemplate(spec=spec, templates=texts[name])
                for name, spec in settled.items()
                if spec.per_user
            },
            policy=allowed.policy,
            keys=tuple(access.spec.keys),
            identities=access.spec.identities,
            graphs=plans,
            server_positions={
                name: servers.source.find_position(("mcpServers", name)) for name in servers.spec.mcpServers
            },
            key_positions={
                key.name: access.source.find_position(("keys", at)) for at, key in enumerate(access.spec.keys)
            },
            role_positions={name: access.source.find_position(("roles", name)) for name in access.spec.roles},
            models_position=gateway.source.find_position(("models",)),
            storage_position=gateway.source.find_position(("storage",)),
            embedding_positions={
                name: reading.source.find_position(("memory", "embed"))
                for name, (reading, plan) in graphs.items()
                if plan is not None and plan.spec.memory is not None and plan.spec.memory.embed is not None
            },
            destination_positions={
                name: gateway.source.find_position(("notifications", "destinations", name))
                for name in (gateway.spec.notifications.destinations if gateway.spec.notifications else ())
            },
            secrets_digest=hashlib.sha256(json.dumps(sorted(secrets)).encode()).hexdigest(),
            redaction=Redaction(secrets),
            tool_references=(
                *collect_rule_references(access, allowed.conditions, is_shipped="access.yaml" in self.shipped_files),
                *(mention for reading, _ in graphs.values() for mention in collect_node_references(reading)),
            ),
            server_patterns={name: collect_server_patterns(servers, name) for name in settled},
            doubts=self._complete(self.doubts),
            notes=self._complete(self.notes),
            texts=self.texts,
            signature=seen,
            case_files=case_files,
            cassettes=self.cassettes,
            python_texts=self.python_texts,
            schema_files=self.schema_files,
            shipped_files=tuple(self.shipped_files),
        )

    def load_storage(self) -> str:
        gateway = self._read_file("gateway.yaml", GatewaySpec)
        # Where something is wrong, only a `storage` that stands there is believed: the mistake may be in its name.
        is_doubtful = bool(self.problems) and (
            gateway.source.find_value(("storage",)) is None or gateway.original.is_broken(("storage",))
        )
        if gateway.spec is None or is_doubtful:
            raise ConfigError(self.problems)
        return gateway.spec.storage

    def _complete(self, problems: list[Problem]) -> tuple[Problem, ...]:
        """Return each of the problems once, with its excerpt, in order."""
        return tuple(sorted(self._add_excerpt(problem) for problem in dict.fromkeys(problems)))

    def _add_excerpt(self, problem: Problem) -> Problem:
        message = mask_random(problem.message)
        shown = build_excerpt(self.texts.get(problem.file, ""), problem.line, problem.column)
        return replace(problem, message=message, excerpt=shown)

    def _check_names(self) -> None:
        """Report files whose names are nearly right: they would be passed over, and the default take their place."""
        for path in sorted(self.folder.iterdir()):
            if path.name in FILES or path.name.startswith(".") or path.suffix not in (".yaml", ".yml"):
                continue
            if hint := did_you_mean(f"{path.stem}.yaml", FILES, cutoff=0.8):
                self.problems.append(Problem(path.name, 0, 0, f"no file of this name is read{hint}"))

    def _read_file(self, name: str, spec: type[AnySpec]) -> ParsedFile[AnySpec]:
        path = self.folder / name
        return self._read(path, name, spec) if path.exists() else self._read_shipped(name, spec)

    def _read_shipped(self, name: str, spec: type[AnySpec]) -> ParsedFile[AnySpec]:
        """Read what stands in for a file that the folder does not have. Positions in it say so."""
        path = find_shipped_configs() / name
        if not path.exists():
            return self._read(path, name, spec)
        self.shipped_files.append(name)
        return self._read(path, f"{SHIPPED} {name}", spec)

    def _read_graphs(self) -> dict[str, tuple[ParsedFile[GraphSpec], GraphPlan | None]]:
        readings: dict[str, ParsedFile[GraphSpec]] = {}
        own = list_own_graph_files(self.folder / "graphs")
        files = list_graph_files(self.folder)
        schemas = SchemaFiles(files[0].parents[1] if files else self.folder)
        for path in files:
            name = f"graphs/{path.name}"
            if not patterns.is_id(path.stem):
                message = f"{path.stem!r} is no name for a graph; use letters, digits, '.', '_' and '-'"
                self.problems.append(Problem(name, 0, 0, message))
            if path.stem in readings:
                self.problems.append(Problem(name, 0, 0, f"there are two files for graph {path.stem!r}; keep one"))
            spec = get_graph_spec()
            readings[path.stem] = self._read(path, name, spec) if path in own else self._read_shipped(name, spec)
        code = self._read_python() if any(map(_calls_python, readings.values())) else None
        found: dict[str, tuple[ParsedFile[GraphSpec], GraphPlan | None]] = {}
        for graph, reading in readings.items():
            made, problems = compile_graph(graph, reading, code, schemas.read_type)
            self.problems += problems
            found[graph] = (reading, made)
        self.schema_files = schemas.documents
        linked, problems = link_subgraphs(found)
        self.problems += problems
        return linked

    def _read_python(self) -> PythonCode | None:
        """Read the operator's Python, all files: each may import the others. None: it is not to be imported, or a file
        cannot be read."""
        known = len(self.problems)
        for path in list_python_files(self.folder):
            self.python_texts[path.stem] = self._read_text(path, f"{PYTHON_FOLDER}/{path.name}")
        is_read = len(self.problems) == known
        return PythonCode(self.folder, self.python_texts) if is_read and self.imports_python else None

    def _read_cases(
        self,
        graphs: Mapping[str, tuple[ParsedFile[GraphSpec], GraphPlan | None]],
        access: ParsedFile[AccessSpec],
        servers: ParsedFile[ServersSpec],
    ) -> tuple[CaseFile, ...]:
        """Read the tests of the folder. They are no part of what is served, so the digest knows nothing of them."""
        found: list[CaseFile] = []
        known = KnownNames(
            graphs={name: reading for name, (reading, _) in graphs.items()},
            roles=access.list_names("roles"),
            servers=servers.list_names("mcpServers"),
        )
        for path in list_case_files(self.folder) if self.with_cases else ():
            reading = self._parse(path, f"graphs/{path.name}", CaseFileSpec)
            made, problems = compile_cases(path.name, reading, known)
            self.problems += problems
            found += [] if made is None else [made]
        if self.with_cassettes:
            self._read_cassettes(known)
        return tuple(found)

    def _read_cassettes(self, known: KnownNames) -> None:
        """Read the cassettes that cases name. One that is not there is recorded later."""
        for name, position in known.cassettes.items():
            if not (path := self.folder / name).exists():
                words = f"{name} is not there yet; `interlock test --record` writes it"
                self.notes.append(Problem(position.file, position.line, position.column, words))
                continue
            made, problems = compile_cassette(self._parse(path, name, CassetteSpec), known.servers)
            self.problems += problems
            if made is not None:
                self.cassettes[name] = made

    def _read(self, path: Path, name: str, spec: type[AnySpec]) -> ParsedFile[AnySpec]:
        reading = self._parse(path, name, spec)
        self.sources.append(reading.original)
        return reading

    def _parse(self, path: Path, name: str, spec: type[AnySpec]) -> ParsedFile[AnySpec]:
        reading = read_spec(parse_yaml(self._read_text(path, name), name, self.env), spec)
        self.problems += reading.problems
        return reading

    def _read_text(self, path: Path, name: str) -> str:
        try:
            if path.stat().st_size > _MAX_BYTES:
                self.problems.append(Problem(name, 0, 0, f"the file is larger than {_MAX_BYTES:,} bytes"))
                return ""
            self.texts[name] = path.read_bytes().decode("utf-8")
            return self.texts[name]
        except UnicodeDecodeError as error:
            self.texts[name] = error.object.decode("utf-8", "replace")
            before = error.object[: error.start].decode("utf-8")
            line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
            self.problems.append(Problem(name, line, column, "the file is not UTF-8 from here on; save it as UTF-8"))
        except FileNotFoundError:
            message = "there is no such file, and no shipped one to stand in for it; restore it"
            self.problems.append(Problem(name, 0, 0, message))
        except OSError as error:
            self.problems.append(Problem(name, 0, 0, f"the file cannot be read: {error.strerror}"))
        return ""

    def _compute_digest(self) -> str:
        # The data, not the text: what variables filled in counts, a comment does not. Of Python, the text.
        python = sorted((f"{PYTHON_FOLDER}/{stem}.py", text) for stem, text in self.python_texts.items())
        data = [*((source.file, source.data) for source in self.sources), *sorted(self.schema_files.items())]
        whole = json.dumps([*data, *python], sort_keys=True)
        return hashlib.sha256(whole.encode()).hexdigest()[:12]

    def _check_gateway(self, gateway: ParsedFile[GatewaySpec], graphs: list[str]) -> None:
        if gateway.spec is None:
            return
        source = gateway.source
        models = gateway.spec.models
        for key, listed in (("offer", models.offer), ("forbid", models.forbid)):
            for at, pattern in enumerate(listed):
                if (wrong := patterns.find_fault(pattern)) is not None:
                    self.problems.append(source.build_problem(("models", key, at), wrong))
        wanted = gateway.spec.default_graph
        if wanted not in graphs and not source.is_broken(("default_graph",)):
            message = f"there is no graph {wanted!r}; there is {', '.join(graphs)}{did_you_mean(wanted, graphs)}"
            if "default_graph" not in gateway.spec.model_fields_set and graphs:
                message += f"; write `default_graph: {graphs[0]}`"
            self.problems.append(source.build_problem(("default_graph",), message))

    def _check_servers(
        self,
        servers: ParsedFile[ServersSpec],
        access: ParsedFile[AccessSpec],
        graphs: Mapping[str, tuple[ParsedFile[GraphSpec], GraphPlan | None]],
    ) -> None:
        """Check the names of servers, and how patterns spell them.

        One that is nearly spelled like another is a mistake. Any other that does not exist may be one to come. What the
        shipped files say of servers is nobody's mistake, whatever the servers of this folder are called.
        """
        names = servers.list_names("mcpServers")
        self.problems += check_servers(servers)
        for source, path, pattern in (*_iter_rule_patterns(access), *_iter_node_patterns(graphs)):
            if source.file.startswith(SHIPPED) or patterns.find_tool_fault(pattern) is not None:
                continue
            if (wrong := patterns.find_misspelt_server(pattern, names)) is not None:
                self.problems.append(source.build_problem(path, wrong))
            elif servers.spec is not None and not source.is_broken(path):
                shown = source.raw_texts.get(path, source.raw_texts.get(path[:-1]))
                for is_missing, message in describe_idle_pattern(pattern, servers, shown):
                    found = self.doubts if is_missing and source is not access.source else self.notes
                    found.append(source.build_problem(path, message))

    def _resolve_paths(self, spec: ServerSpec, texts: Templates) -> ServerSpec:
        """Return the server with absolute paths: relative ones are relative to the folder of the configs."""
        if texts and not spec.per_user:
            spec = render_braces(spec, texts)
        if spec.command is None:
            return spec
        command = spec.command
        if "/" in command and not Path(command).is_absolute():
            command = str(self.folder / command)
        return spec.model_copy(update={"command": command, "cwd": str(self.folder / (spec.cwd or ""))})


def find_shipped_configs() -> Path:
    """Return the folder of the files that stand in for absent ones: the wheel's copy, or `configs/` of a checkout."""
    packaged = Path(__file__).parent / "shipped"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "configs"


def list_graph_files(folder: Path) -> list[Path]:
    """List the graph files of a config folder, in order, then the shipped ones that stand beside them. Raises OSError.

    These are served where the folder has no graph, and where it has no gateway.yaml: the shipped one names them.
    """
    own = list_own_graph_files(folder / "graphs")
    if own and (folder / "gateway.yaml").exists():
        return own
    names = {path.stem for path in own}
    return own + [path for path in list_own_graph_files(find_shipped_configs() / "graphs") if path.stem not in names]


def list_own_graph_files(folder: Path) -> list[Path]:
    """List the graph files in a folder of graphs, in order; none where there is no such folder. Raises OSError."""
    return [path for path in _list_yaml_files(folder) if not (is_case_file(path.name) or is_schema_file(path.name))]


def list_case_files(folder: Path) -> list[Path]:
    """List the files of tests of a config folder, in order: its own alone, since its rules are. Raises OSError."""
    return [path for path in _list_yaml_files(folder / "graphs") if is_case_file(path.name)]


def list_python_files(folder: Path) -> list[Path]:
    """List the operator's Python files of a config folder, in order: its own alone. Raises OSError."""
    inside = folder / PYTHON_FOLDER
    files = sorted(inside.iterdir()) if inside.is_dir() else []
    return [path for path in files if path.suffix == ".py" and path.stem.isidentifier()]


def _calls_python(reading: ParsedFile[GraphSpec]) -> bool:
    nodes = reading.spec.list_all_nodes().values() if reading.spec is not None else ()
    return any(isinstance(node, PythonNodeSpec) for node in nodes)


def _list_yaml_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    files = sorted(folder.iterdir())
    return [path for path in files if path.suffix in (".yaml", ".yml") and not path.name.startswith(".")]


def _iter_rule_patterns(access: ParsedFile[AccessSpec]) -> Iterator[tuple[Source, At, str]]:
    for role, spec in access.spec.roles.items() if access.spec is not None else ():
        for decision, rules in (("allow", spec.allow), ("ask", spec.ask), ("deny", spec.deny)):
            for at, rule in enumerate(rules):
                for index, pattern in enumerate(rule.tool):
                    yield access.source, ("roles", role, decision, at, "tool", index), pattern


def _iter_node_patterns(
    graphs: Mapping[str, tuple[ParsedFile[GraphSpec], GraphPlan | None]],
) -> Iterator[tuple[Source, At, str]]:
    for reading, _ in graphs.values():
        if reading.spec is None:
            continue
        for name, node in reading.spec.list_all_nodes().items():
            for path, pattern in node.locate_tool_patterns().items():
                yield reading.source, (*reading.spec.locate_node(name), *path), pattern
