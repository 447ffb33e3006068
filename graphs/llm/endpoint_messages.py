"""Messages in the one form that every endpoint and every model's chat template takes.

Templates of Qwen and Mistral take one system message, and only as the first; Mistral takes no user message right after
a tool's result; no tool message holds an image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from graphs.llm.messages import Message
from graphs.llm.provider_fields import MessageReturn

INSTRUCTION_ROLES = ("system", "developer")
IMAGE_NOTE = "(see the image below)"
BRIDGE = "I have the results."
"""What the assistant says between a tool's result and a user message."""


def build_endpoint_messages(messages: Sequence[Message], model: str) -> list[Message]:
    """Build the messages of a request to this model."""
    returned = MessageReturn(model)
    sent: list[Message] = []
    instructions: list[Message] = []
    images: list[Mapping[str, Any]] = []
    for message in messages:
        role = message.get("role")
        if role in INSTRUCTION_ROLES:
            instructions.append(message)
            continue
        if role == "tool":
            message = take_images(message, images)
        elif images:
            add_user_message(sent, build_image_message(images))
            images = []
        if role == "user":
            add_user_message(sent, message)
        else:
            sent.append(returned.build(message))
    if images:
        add_user_message(sent, build_image_message(images))
    instruction = merge_instructions(instructions)
    return sent if instruction is None else [instruction, *sent]


def add_user_message(sent: list[Message], message: Message) -> None:
    """Add a user message, with a word of the assistant before it where it would follow a tool's result."""
    if sent and sent[-1].get("role") in ("tool", "function"):
        sent.append({"role": "assistant", "content": BRIDGE})
    sent.append(message)


def take_images(message: Message, images: list[Mapping[str, Any]]) -> Message:
    """Take the images out of a tool's result, which may hold only text; they follow in a user message."""
    content = message.get("content")
    if not isinstance(content, list):
        return message
    parts = cast("list[Mapping[str, Any]]", content)
    images += [part for part in parts if part.get("type") == "image_url"]
    text = "".join(str(part.get("text") or "") for part in parts if part.get("type") == "text")
    return {**message, "content": text or IMAGE_NOTE}


def build_image_message(images: Sequence[Mapping[str, Any]]) -> Message:
    """Put images of tools into the only kind of message that may hold images."""
    return {"role": "user", "content": [{"type": "text", "text": "The images that the tools returned:"}, *images]}


def merge_instructions(instructions: Sequence[Message]) -> Message | None:
    """Merge system and developer messages into one, in their order, a blank line between; None where they say nothing.

    Parts that are more than text, such as marks for a cache, stay parts.
    """
    contents = [content for message in instructions if (content := build_content(message))]
    if not contents:
        return None
    if all(isinstance(content, str) for content in contents):
        return {"role": "system", "content": "\n\n".join(cast("list[str]", contents))}
    parts: list[Mapping[str, Any]] = []
    for content in contents:
        if parts:
            parts[-1] = add_words(parts[-1], "")
        parts += content if isinstance(content, list) else [{"type": "text", "text": content}]
    return {"role": "system", "content": parts}


def build_content(message: Message) -> str | list[Mapping[str, Any]]:
    """Build the content of an instruction: its text, or its parts where they are more than text."""
    content: object = message.get("content")
    mark = message.get("cache_control")
    parts: list[Mapping[str, Any]] = []
    if isinstance(content, list):
        parts += [part for part in cast("list[Mapping[str, Any]]", content) if part.get("text") != ""]
    elif isinstance(content, str) and content.strip():
        parts.append({"type": "text", "text": content})
    if mark and parts:
        parts[-1] = {**parts[-1], "cache_control": mark}
    if all(set(part) == {"type", "text"} for part in parts):
        return "".join(str(part["text"]) for part in parts)
    return parts


def add_words(part: Mapping[str, Any], words: str) -> Mapping[str, Any]:
    """Add a paragraph to a part of a message, where it is a text."""
    return {**part, "text": f"{part['text']}\n\n{words}"} if part.get("type") == "text" else part


def add_note(messages: Sequence[Message], note: str) -> list[Message]:
    """Add a note of ours to the last message, where a person or a tool says it; else as a user message. A system
    message there would be refused, and in the first one the note would be far from where it matters."""
    words = f"[Interlock: {note}]"
    last: Message = messages[-1] if messages else {}
    if last.get("role") not in ("user", "tool"):
        return [*messages, {"role": "user", "content": words}]
    content: object = last.get("content")
    if isinstance(content, list):
        content = [*cast("list[object]", content), {"type": "text", "text": f"\n\n{words}"}]
    else:
        content = f"{content}\n\n{words}" if content else words
    return [*messages[:-1], {**last, "content": content}]
