"""The demo's MCP server for files: one workspace, and no way out of it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from mcp.server.fastmcp import FastMCP
from mcp.server.fastmcp.exceptions import ToolError
from mcp.types import ToolAnnotations

from server.demo.data import ensure_workspace
from server.demo.results import Entry, ListingResult, WriteResult

ROOT = PurePosixPath("/workspace")
MAX_BYTES = 1_000_000


def create_server(data: Path) -> FastMCP:
    """Create the server over DATA/workspace, which models see as /workspace. Raises OSError if the folder cannot be
    made."""
    folder = ensure_workspace(data).resolve()
    server = FastMCP("filesystem", instructions=f"Text files below {ROOT}.", log_level="WARNING")
    reads = ToolAnnotations(readOnlyHint=True, idempotentHint=True, openWorldHint=False)
    writes = ToolAnnotations(readOnlyHint=False, destructiveHint=True, openWorldHint=False)

    @server.tool(annotations=reads)
    def list_directory(path: str = str(ROOT)) -> ListingResult:  # pyright: ignore[reportUnusedFunction]
        """List the files and directories in a directory of the workspace, e.g. /workspace."""
        return list_entries(folder, path)

    @server.tool(annotations=reads, structured_output=False)
    def read_file(path: str) -> str:  # pyright: ignore[reportUnusedFunction]
        """Read a text file of the workspace, e.g. /workspace/welcome.md."""
        return read_text(folder, path)

    @server.tool(annotations=writes)
    def write_file(path: str, content: str) -> WriteResult:  # pyright: ignore[reportUnusedFunction]
        """Write a text file of the workspace. A file of that name is replaced; missing directories are made."""
        return write_text(folder, path, content)

    return server


def list_entries(folder: Path, path: str) -> ListingResult:
    """List what is in one directory. Raises ToolError."""
    target = resolve_path(folder, path)
    if not target.is_dir():
        raise ToolError(f"{path!r} is not a directory." if target.exists() else _describe_missing(path))
    entries = [
        Entry(name=item.name, type="directory", bytes=None)
        if item.is_dir()
        else Entry(name=item.name, type="file", bytes=item.lstat().st_size)
        for item in sorted(target.iterdir(), key=lambda item: item.name)
    ]
    return ListingResult(path=format_path(folder, target), entries=entries)


def read_text(folder: Path, path: str) -> str:
    """Read the text of one file, at most a million bytes of UTF-8. Raises ToolError."""
    target = resolve_path(folder, path)
    # A pipe or a device would be waited for without end: only plain files are opened.
    if not target.is_file():
        raise ToolError(f"{path!r} is not a plain file." if target.exists() else _describe_missing(path))
    size = target.stat().st_size
    if size > MAX_BYTES:
        raise ToolError(f"{path!r} has {size:,} bytes; at most {MAX_BYTES:,} are read.")
    try:
        return target.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ToolError(f"{path!r} is not UTF-8 text: byte {error.start} is not valid.") from error


def write_text(folder: Path, path: str, content: str) -> WriteResult:
    """Replace or make one file. Raises ToolError."""
    target = resolve_path(folder, path)
    raw = content.encode("utf-8", errors="replace")
    if len(raw) > MAX_BYTES:
        raise ToolError(f"The content has {len(raw):,} bytes; at most {MAX_BYTES:,} are written.")
    created = not target.exists()
    if not created and not target.is_file():
        raise ToolError(f"{path!r} is not a plain file, so it is not replaced.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(raw)
    except OSError as error:
        raise ToolError(f"{path!r} could not be written: {error.strerror}.") from error
    return WriteResult(path=format_path(folder, target), bytes=len(raw), created=created)


def resolve_path(folder: Path, path: str) -> Path:
    """Resolve `/workspace/…` or a relative path, symlinks followed. `folder` is resolved already.

    Raises ToolError for everything that ends outside.
    """
    outside = ToolError(f"{path!r} is outside {ROOT}. Give a path such as {ROOT}/welcome.md.")
    if "\0" in path or "\\" in path:
        raise outside
    asked = ROOT / path
    if not asked.is_relative_to(ROOT):
        raise outside
    try:
        target = (folder / asked.relative_to(ROOT)).resolve()
    except (OSError, RuntimeError) as error:  # a circle of symlinks
        raise outside from error
    if not target.is_relative_to(folder):
        raise outside
    return target


def format_path(folder: Path, target: Path) -> str:
    """Format a path as models see it."""
    return str(ROOT / target.relative_to(folder))


def _describe_missing(path: str) -> str:
    return f"{path!r} does not exist. list_directory shows what does."
