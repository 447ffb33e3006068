"""Clients of others, one small program each, in the way of each one's manual.

A program reads a job from standard input and prints one line of JSON for each way of asking: the text that the client
gave, in how many pieces, or the error that it raised. `steps.py` and `steps.mjs` are that frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compat.environments import Language


@dataclass(frozen=True, kw_only=True)
class Client:
    """One client."""

    name: str
    packages: Sequence[str]
    """What is installed; the first is the client itself."""
    program: str
    """A file in this folder."""
    language: Language = "Python"
    form: str = "$text"
    """What the model must say for the client to give `$text`."""
    forces: bool = False
    """Whether it makes the model call a function of its own, and takes `text` from the arguments."""
    whole: str = ""
    """Why its answers may come in one piece, streamed or not."""


CLIENTS = (
    Client(name="openai-python", packages=["openai"], program="ask_openai.py"),
    Client(name="openai-node", packages=["openai"], program="ask_openai.mjs", language="Node"),
    Client(name="llm", packages=["llm"], program="ask_llm.py"),
    Client(name="langchain", packages=["langchain-openai"], program="ask_langchain.py"),
    Client(name="pydantic-ai", packages=["pydantic-ai-slim[openai]"], program="ask_pydantic_ai.py"),
    Client(name="openai-agents-python", packages=["openai-agents"], program="ask_openai_agents.py"),
    Client(
        name="openai-agents-js",
        packages=["@openai/agents", "openai", "zod"],
        program="ask_openai_agents.mjs",
        language="Node",
    ),
    Client(name="ai-sdk", packages=["ai", "@ai-sdk/openai-compatible"], program="ask_ai_sdk.mjs", language="Node"),
    Client(
        name="instructor",
        packages=["instructor"],
        program="ask_instructor.py",
        forces=True,
        whole="Interlock hands over a call of the client's own function when it is complete",
    ),
    Client(name="litellm", packages=["litellm"], program="ask_litellm.py"),
    Client(name="llama-index", packages=["llama-index-llms-openai-like"], program="ask_llama_index.py"),
    Client(name="haystack", packages=["haystack-ai"], program="ask_haystack.py"),
    Client(name="autogen", packages=["autogen-agentchat", "autogen-ext[openai]"], program="ask_autogen.py"),
    Client(
        name="smolagents",
        packages=["smolagents[openai]"],
        program="ask_smolagents.py",
        form='Thought: I know it.\n<code>\nfinal_answer("$text")\n</code>',
    ),
    Client(name="aider", packages=["aider-chat"], program="ask_aider.py"),
)
