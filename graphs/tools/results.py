"""Results of tools: cut to a size, as text and images that a model can read."""

from __future__ import annotations

import base64
import json
from typing import Any, cast

import orjson
from mcp.types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)
from pydantic import TypeAdapter, ValidationError

from graphs.tools.session import RawResult

_LARGEST_IMAGE = 8_000_000
"""Characters of base64, of all images of an answer together. An image is not text that can be cut: it is kept whole or
left out."""
_MOST_IMAGES = 20
_MOST_BLOCKS = 1_000
"""Blocks of one answer that are read."""
_MOST_OTHERS = 100
"""Of them, those that are no text: to read one takes 50 µs."""
_IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""What models take."""
_TEXTS = frozenset({"application/json", "application/xml", "application/yaml", "application/x-yaml"})
"""What is text besides text/*."""
_BLOCK: TypeAdapter[ContentBlock] = TypeAdapter(ContentBlock)


def build_failure(text: str) -> CallToolResult:
    """Build an error result of our own."""
    return CallToolResult(content=[TextContent(type="text", text=text)], isError=True)


def render_result(raw: RawResult, *, limit: int) -> CallToolResult:
    """Render the answer as text, joined and cut to `limit` characters, and images; never an exception.

    An error is text alone. Structured content comes along if it is an object of at most `limit` characters as JSON;
    where a server sends nothing else it is the text.
    """
    parts: list[str | ImageContent] = []
    others = 0
    for block in raw.content[:_MOST_BLOCKS]:
        text = _get_plain_text(block)
        others += text is None
        if text is None and others > _MOST_OTHERS:
            break
        parts.append(_render_block(block) if text is None else text)
    left_out = len(raw.content) - len(parts)
    structured, portable = _write_json(raw.structuredContent, limit)
    if not parts and structured is not None:
        parts.append(structured)
    texts = [part for part in parts if isinstance(part, str)]
    if left_out and parts:
        texts.append(f"[{left_out:,} more parts of the answer left out]")
    images, too_many = _select_images([part for part in parts if isinstance(part, ImageContent)])
    if too_many:
        texts.append(f"[{too_many} more images left out]")
    if raw.isError:
        texts += [f"[{image.mimeType} left out]" for image in images]
        images = []
    text = _cut("\n".join(texts), limit)
    if not text and not images:
        text = "The tool failed and gave no reason." if raw.isError else "The tool gave an empty answer."
    content: list[ContentBlock] = [TextContent(type="text", text=text)] if text else []
    keep: dict[str, Any] | None = None
    if isinstance(raw.structuredContent, dict) and portable and len(structured or "") <= limit:
        keep = cast("dict[str, Any]", raw.structuredContent)  # pyright: ignore[reportUnknownMemberType]
    return CallToolResult(
        content=[*content, *images],
        structuredContent=keep,
        isError=raw.isError,
    )


def _write_json(value: object, limit: int) -> tuple[str | None, bool]:
    """Write a value as JSON, and say whether it can be kept: a number over 64 bits cannot, nor can half a surrogate
    pair."""
    if value is None:
        return None, False
    try:
        written = orjson.dumps(value)
    except TypeError:
        return json.dumps(value), False
    # What is too long for a model is only cut: then the form that is written twenty times as fast will do.
    return (json.dumps(value), True) if len(written) <= limit else (written.decode(), True)


def _select_images(images: list[ImageContent]) -> tuple[list[ImageContent], int]:
    """Select the images that are taken of one answer, and count those that are not."""
    kept: list[ImageContent] = []
    size = 0
    for image in images:
        size += len(image.data)
        if len(kept) == _MOST_IMAGES or size > _LARGEST_IMAGE:
            break
        kept.append(image)
    return kept, len(images) - len(kept)


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    note = f"[Cut: the first {limit:,} of {len(text):,} characters are shown. Ask for less: a part, a filter, a limit.]"
    return f"{text[:limit]}\n{note}"


def _get_plain_text(raw: object) -> str | None:
    if isinstance(raw, str):
        return raw
    block = cast("dict[str, Any]", raw) if isinstance(raw, dict) else {}
    # A block without a type is what its members say.
    text = block.get("text") if block.get("type") in ("text", None) else None
    return text if isinstance(text, str) else None


def _find_type(block: dict[str, Any]) -> str | None:
    """Find the type of a block that does not name one; None where its members do not tell."""
    if isinstance(block.get("resource"), dict):
        return "resource"
    if isinstance(block.get("data"), str):
        family = str(block.get("mimeType")).partition("/")[0]
        return family if family in ("image", "audio") else None
    return "resource_link" if isinstance(block.get("uri"), str) and isinstance(block.get("name"), str) else None


def _render_block(raw: Any) -> str | ImageContent:
    if isinstance(raw, dict) and raw.get("type") is None:  # pyright: ignore[reportUnknownMemberType]
        block = cast("dict[str, Any]", raw)
        raw = {**block, "type": _find_type(block)}
    try:
        block = _BLOCK.validate_python(raw)
    except ValidationError:
        kind = raw.get("type") if isinstance(raw, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return f"[content of a kind that is not known here: {str(kind)[:50]!r}]"  # pyright: ignore[reportUnknownArgumentType]
    match block:
        case TextContent(text=text):
            return text
        case ImageContent(data=data, mimeType=kind):
            return _render_image(data, kind)
        case AudioContent(mimeType=kind):
            return f"[audio ({kind}), which cannot be shown here]"
        case ResourceLink(name=name, uri=uri, description=description):
            return f"[resource {name}: {uri}{f', {description}' if description else ''}]"
        case EmbeddedResource(resource=resource):
            return _render_resource(resource)


def _render_resource(resource: TextResourceContents | BlobResourceContents) -> str | ImageContent:
    if isinstance(resource, TextResourceContents):
        return resource.text
    if resource.mimeType in _IMAGES:
        return _render_image(resource.blob, resource.mimeType)
    kind = resource.mimeType or "a file"
    if (text := _read_text(kind, resource.blob)) is not None:
        return text
    return (
        f"[{kind} of {len(resource.blob.rstrip('=')) * 3 // 4:,} bytes at {resource.uri}, which cannot be shown here]"
    )


def _read_text(kind: str, blob: str) -> str | None:
    """Read the text that a file holds; None for a file of another kind, or one that is not UTF-8."""
    essence = kind.partition(";")[0].strip().lower()
    if not (essence.startswith("text/") or essence in _TEXTS or essence.endswith(("+json", "+xml"))):
        return None
    try:
        return base64.b64decode(blob, validate=True).decode()
    except ValueError:
        return None


def _render_image(data: str, kind: str) -> str | ImageContent:
    if kind not in _IMAGES:
        return f"[an image of a kind that cannot be shown here: {kind}]"
    if len(data) > _LARGEST_IMAGE:
        return f"[an image ({kind}) of {len(data) * 3 // 4:,} bytes, too large to be shown]"
    return ImageContent(type="image", data=data, mimeType=kind)
