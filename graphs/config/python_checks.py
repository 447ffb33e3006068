"""Check the `python` nodes of a graph: that their functions are there, and take and return what the graph says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from graphs.config.group_checks import find_output
from graphs.config.python_code import ImportFault, PythonCode
from graphs.config.python_functions import FunctionFault, Parameter, PythonFunction, find_function
from graphs.config.python_types import find_expression_type, may_overlap
from graphs.config.source import Path, Source
from graphs.config.spec.graph import GraphSpec
from graphs.config.spec.node_types import walk_texts
from graphs.config.spec.python import PythonNodeSpec
from graphs.errors import Problem, did_you_mean
from graphs.expressions import Template, TypeMismatch, Variable, VarType

_CURE = "change one of the two"


@dataclass
class PythonChecker:
    """Finds and checks the functions of one graph."""

    spec: GraphSpec
    source: Source
    original: Source
    """The whole file: with what was left out of `spec`, because it cannot be read."""
    variables: Mapping[str, Variable]
    templates: Mapping[Path, Template]
    problems: list[Problem] = field(default_factory=list[Problem])

    def find_functions(self, code: PythonCode | None) -> Mapping[str, PythonFunction]:
        """Find the functions by what `run` says. Without the code nothing is found, and nothing said."""
        found: dict[str, PythonFunction] = {}
        for name, node in self.spec.list_all_nodes().items():
            place = (*self.spec.locate_node(name), "run")
            if code is None or not isinstance(node, PythonNodeSpec) or self.source.is_broken(place):
                continue
            try:
                found[node.run] = find_function(code, node.run)
            except FunctionFault as fault:
                self._report(place, str(fault))
            except ImportFault as fault:
                found_at = fault.position
                self.problems.append(Problem(found_at.file, found_at.line, found_at.column, str(fault)))
            else:
                self._check_arguments(name, node, found[node.run])
                self._check_result(name, node, found[node.run])
        return found

    def _report(self, path: Path, message: str) -> None:
        if not self.source.is_broken(path):
            self.problems.append(self.source.build_problem(path, message))

    def _check_arguments(self, name: str, node: PythonNodeSpec, function: PythonFunction) -> None:
        place = self.spec.locate_node(name)
        at: Path = (*place, "with")
        known = function.parameters
        for given, value in node.arguments.items():
            if given in known:
                template = self.templates.get((name, "with", given))
                self._check_argument((*at, given), value, template, function, known[given])
            elif not function.takes_more:
                listed = f"it takes {', '.join(known)}{did_you_mean(given, known)}" if known else "it takes nothing"
                self._report((*at, given), f"{function.name} has no parameter {given!r}; {listed}")
        missing = [each for each, one in known.items() if one.is_required and each not in node.arguments]
        is_whole = self.original.find_value(place) == self.source.find_value(place)
        if missing and is_whole:
            path = at if node.arguments else (*place, "run")
            names = ", ".join(map(repr, missing))
            self._report(path, f"{function.name} needs {names} too; give it under 'with', or a default in the file")

    def _check_argument(
        self, path: Path, value: object, template: Template | None, function: PythonFunction, parameter: Parameter
    ) -> None:
        """Check one value against its parameter, as far as it is known before it is filled in."""
        written: Any = value
        if template is not None:
            given = VarType(kind="string") if template.alone is None else find_expression_type(template.alone)
            if not may_overlap(given, parameter.schema):
                what = given.describe() if given.kind != "object" or given.fields else "an object"
                self._report(
                    path, f"this is {what}, and {path[-1]!r} of {function.name} is {parameter.written}; {_CURE}"
                )
        elif not any("{{" in text for _, text in walk_texts(written, ())):
            try:
                function.build_arguments({str(path[-1]): written})
            except TypeMismatch as error:
                self._report(path, f"{error}; in {function.name} it is {parameter.written}")

    def _check_result(self, name: str, node: PythonNodeSpec, function: PythonFunction) -> None:
        variable = find_output(node.into or "", self.variables)
        if node.into is None or variable is None:
            return  # a variable that is not there is reported elsewhere
        if not may_overlap(variable.type, function.result_schema, is_result=True):
            self._report(
                (*self.spec.locate_node(name), "run" if "." in name else "into"),
                f"{function.name} returns {function.result_written}, and {node.into!r} is {variable.type.describe()};"
                f" {_CURE}",
            )
