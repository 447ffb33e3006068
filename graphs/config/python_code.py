"""Import the operator's own Python, the files of `python/` in a config folder, under names that nothing else has.

A snapshot has the code as it was when it was loaded: every file is read once, and what imports another file later gets
that text too. Nothing is written beside the files. It is no sandbox: the code may do what Interlock itself may do.
"""

from __future__ import annotations

import importlib
import sys
import threading
import traceback
import uuid
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, ModuleType

from graphs.errors import InterlockError, Position
from graphs.redaction import Redaction

PYTHON_FOLDER = "python"
"""The folder with the operator's files, beside `graphs`."""
IMPORT_PATIENCE = 60.0
"""Seconds that the import of a file may take."""

_LONGEST_REASON = 500


class ImportFault(InterlockError):
    """A file that cannot be imported, with the line that is to blame. The text says why, and what to do."""

    def __init__(self, message: str, position: Position) -> None:
        super().__init__(message)
        self.position = position


_dropped: deque[tuple[str, _TextFinder]] = deque()
"""Packages that nobody holds any more, still to be removed from `sys.modules`. Not at once: this is found out while
garbage is collected, which may happen in the middle of somebody's loop over `sys.modules`."""


class PythonCode:
    """The files of one snapshot. They stay imported until nobody holds this any more, and the next are read."""

    def __init__(self, folder: Path, texts: Mapping[str, str]) -> None:
        self.texts = texts
        """What the files hold, by their names without `.py`."""
        self._folder = folder
        self._package = f"_interlock_python_{uuid.uuid4().hex}"
        self._faults: dict[str, ImportFault] = {}
        finder = _TextFinder(self._package, folder, texts)
        _remove_dropped()
        sys.meta_path.append(finder)
        weakref.finalize(self, _dropped.append, (self._package, finder)).atexit = False

    def import_file(self, stem: str) -> ModuleType:
        """Import one of the files, once. Raises ImportFault."""
        name = f"{self._package}.{stem}"
        if name in sys.modules and stem not in self._faults:
            return sys.modules[name]
        if stem in self._faults:
            raise self._faults[stem]
        try:
            return self._import(name, stem)
        except ImportFault as fault:
            self._faults[stem] = fault
            raise

    def hide_package(self, text: str) -> str:
        """Return a text without the private name under which the files are imported."""
        return text.replace(f"{self._package}.", "")

    def _import(self, name: str, stem: str) -> ModuleType:
        errors: list[BaseException] = []

        def run() -> None:
            try:
                importlib.import_module(name)
            except BaseException as error:  # noqa: BLE001  a file that calls sys.exit() ends nothing but its own import
                errors.append(error)

        # On a thread of its own, so that a file that never comes to its end keeps nobody waiting for ever.
        thread = threading.Thread(target=run, name=f"import {stem}.py", daemon=True)
        thread.start()
        thread.join(IMPORT_PATIENCE)
        if thread.is_alive():
            why = f"importing this file took more than {IMPORT_PATIENCE:g} seconds; do in a function what takes long"
            raise ImportFault(why, Position(f"{PYTHON_FOLDER}/{stem}.py", 0, 0))
        if errors:
            raise self._explain(errors[0], stem) from errors[0]
        return sys.modules[name]

    def _explain(self, error: BaseException, stem: str) -> ImportFault:
        position = self._find_position(error) or Position(f"{PYTHON_FOLDER}/{stem}.py", 0, 0)
        if isinstance(error, SyntaxError) and error.filename in self._list_paths():
            return ImportFault(f"this is no Python: {error.msg}", position)
        text = Redaction().redact_text(self.hide_package(describe_exception(error)), _LONGEST_REASON)
        return ImportFault(f"importing this file fails: {text}; {self._find_cure(error)}", position)

    def _find_cure(self, error: BaseException) -> str:
        if not isinstance(error, Exception):
            return "leave out what ends the process"
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing in self.texts:
            return f"to import a file of this folder, write 'from . import {missing}'"
        if missing is not None and not missing.startswith(self._package):
            return "install it where Interlock runs, or do without it"
        return "mend this line, or what it needs"

    def _find_position(self, error: BaseException) -> Position | None:
        """Find the line of our files where it came from."""
        paths = self._list_paths()
        if isinstance(error, SyntaxError) and (file := paths.get(error.filename or "")) is not None:
            return Position(file, error.lineno or 0, max(error.offset or 0, 1) if error.lineno else 0)
        frames = traceback.extract_tb(error.__traceback__)
        last = next((frame for frame in reversed(frames) if frame.filename in paths), None)
        if last is None or last.lineno is None:
            return None
        return Position(paths[last.filename], last.lineno, (last.colno or 0) + 1)

    def _list_paths(self) -> Mapping[str, str]:
        """List the names of the files as people write them, by their paths."""
        return {str(_locate(self._folder, stem)): f"{PYTHON_FOLDER}/{stem}.py" for stem in self.texts}


class _TextFinder(MetaPathFinder, InspectLoader):
    """Finds the modules of one private package, in texts instead of files."""

    def __init__(self, package: str, folder: Path, texts: Mapping[str, str]) -> None:
        self._package = package
        self._folder = folder
        self._texts = texts

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module of the package; None: it is none of ours."""
        if self.is_package(fullname):
            return ModuleSpec(fullname, self, is_package=True)
        if not fullname.startswith(f"{self._package}.") or self._find_stem(fullname) not in self._texts:
            return None
        spec = ModuleSpec(fullname, self, origin=self._find_path(fullname))
        spec.has_location = True  # for `__file__`
        return spec

    def is_package(self, fullname: str) -> bool:
        """Whether it is the package itself."""
        return fullname == self._package

    def get_source(self, fullname: str) -> str:
        """Return the text of a module."""
        return self._texts.get(self._find_stem(fullname), "")

    def get_code(self, fullname: str) -> CodeType:
        """Compile a module. Raises SyntaxError."""
        return self.source_to_code(self.get_source(fullname), self._find_path(fullname))

    def _find_path(self, fullname: str) -> str:
        return str(_locate(self._folder, self._find_stem(fullname)))

    def _find_stem(self, fullname: str) -> str:
        return "__init__" if self.is_package(fullname) else fullname.removeprefix(f"{self._package}.")


def _locate(folder: Path, stem: str) -> Path:
    return folder / PYTHON_FOLDER / f"{stem}.py"


def _remove_dropped() -> None:
    """Remove what was imported for code that nobody holds any more."""
    while _dropped:
        package, finder = _dropped.popleft()
        sys.meta_path.remove(finder)
        for name in sys.modules.copy():
            if name == package or name.startswith(f"{package}."):
                del sys.modules[name]


def describe_exception(error: BaseException) -> str:
    """Return the kind and the text of an exception on one line, whatever its own code does."""
    try:
        text = " ".join(str(error).split())
    except BaseException:  # noqa: BLE001  the text of an exception is code too
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
