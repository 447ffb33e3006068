"""The chat of a person at a terminal: asks for lines, shows answers, and decides in place what waits."""

from __future__ import annotations

import re

from prompt_toolkit.history import History
from rich.console import Console
from rich.text import Text

from graphs.errors import did_you_mean
from graphs.text import escape_invisible
from server.cli.chat.answer_view import TerminalView, drop_pause_words
from server.cli.chat.approvals import decide_in_place, describe_waiting, find_pending
from server.cli.chat.commands import NAMES, Command, describe_unknown, parse_command, render_help
from server.cli.chat.conversation import ChatConversation
from server.cli.chat.gateway_client import ChatFailed, GatewayClient
from server.cli.chat.interruption import run_until_interrupted
from server.cli.chat.line_prompt import LinePrompt, hide_typing
from server.cli.chat.markdown import AnswerMarkdown, Trimmed
from server.cli.chat.questions import find_choices
from server.cli.chat.saved_chats import SavedChats
from server.cli.chat.tool_results import ToolResults

APPROVAL_ID = re.compile("[a-z2-7]{8}", re.IGNORECASE)


class TerminalChat:
    """A conversation with a person."""

    def __init__(
        self,
        client: GatewayClient,
        conversation: ChatConversation,
        saved: SavedChats,
        history: History,
        *,
        saves: bool,
    ) -> None:
        """`saves`: each answer is saved, so that the conversation can be taken up."""
        self._client = client
        self._conversation = conversation
        self._saved = saved
        self._saves = saves
        self._prompt = LinePrompt(history, NAMES)
        self._console = Console(highlight=False, emoji=False)
        self._results = ToolResults()
        self._is_save_problem_shown = False

    async def ask_once(self, question: str) -> None:
        """Ask one question, and what waits after it; where it goes on waiting, it is saved. Raises ChatFailed."""
        self._results = ToolResults(has_commands=False)
        command = parse_command(question, self._conversation.pause)
        if command is not None and command.name in ("/approve", "/reject"):
            await self._decide(command)
            return
        await self._say(question)
        pause = self._conversation.pause
        if pause.approvals or pause.question:
            self._save()
            self._note("It waits; `interlock chat --continue` goes on with it.")

    async def talk(self, *, continues: bool) -> None:
        """Talk until the person leaves. `continues`: the conversation was begun before."""
        if continues:
            await self._show_end()
        elif (found := self._saved.find_latest()) is not None:
            age = describe_age(found.age)
            self._note(f"/continue goes on with the conversation of {age} ago; /help lists all commands.")
        else:
            self._note("/help lists the commands, Ctrl-D leaves.")
        while True:
            try:
                text = await self._ask()
            except KeyboardInterrupt:
                self._note("Ctrl-D leaves.")
                continue
            except EOFError:
                return
            if not text:
                continue
            try:
                command = parse_command(text, self._conversation.pause)
                if command is None:
                    await self._say(text)
                elif command.name == "/quit":
                    return
                else:
                    await self._run_command(command)
            except ChatFailed as error:
                self._console.print(Text(str(error), "red"))

    async def _ask(self) -> str:
        question = self._conversation.pause.question
        self._console.print()
        if question is None:
            return await self._prompt.ask_line()
        return await self._prompt.ask_answer([*await find_choices(self._client, question), *NAMES])

    async def _say(self, text: str) -> None:
        """Say something, and what is decided about each call that waits then. Raises ChatFailed."""
        message: str | None = text
        while message is not None:
            view = TerminalView(self._console, self._results)
            try:
                with hide_typing():
                    is_whole = await run_until_interrupted(self._conversation.run_turn(self._client, message, view))
            finally:
                if self._saves:
                    self._save()
            if not is_whole:
                self._note("stopped")
                return
            message = await self._ask_approval()

    async def _ask_approval(self) -> str | None:
        pause = self._conversation.pause
        if not pause.approvals:
            return None
        try:
            return await decide_in_place(self._client, self._console, self._prompt, pause.approvals)
        except ChatFailed:
            # The calls are in the answer too, whose words about them were not shown.
            self._console.print(Trimmed(AnswerMarkdown(self._conversation.messages[-1]["content"])))
            raise

    async def _run_command(self, command: Command) -> None:
        match command.name:
            case "/help":
                self._print(render_help())
            case "/model":
                await self._choose_model(command.argument)
            case "/approve" | "/reject":
                await self._decide(command)
            case "/show":
                self._show_result(command.argument)
            case "/new":
                self._conversation.clear()
                self._saved.begin()
                self._note(f"A new conversation with {self._conversation.model}.")
            case "/continue":
                await self._continue()
            case name:
                self._print(describe_unknown(name))

    async def _choose_model(self, name: str) -> None:
        models = [str(entry["id"]) for entry in (await self._client.get("/models"))["data"]]
        if name in models:
            self._conversation.choose_model(name)
            self._note(f"{name} answers from now on.")
            return
        if name:
            self._print(f"There is no model {name!r} for this key{did_you_mean(name, models) or '.'}")
        for model in models:
            self._print(f"{'*' if model == self._conversation.model else ' '} {model}")

    async def _decide(self, command: Command) -> None:
        """Decide the call of this id, or the one that waits; one that was not shown in this conversation is shown
        first."""
        word = command.name.removeprefix("/")
        pause = self._conversation.pause
        if command.argument and APPROVAL_ID.fullmatch(command.argument) is None:
            self._print(f"{command.argument!r} is no id of a call that waits; these have eight letters and digits.")
            return
        if command.argument:
            await self._say(f"{word} {command.argument.lower()}")
            return
        waiting = await find_pending(self._client, pause)
        if len(waiting) > 1:
            self._print(f"{len(waiting)} calls wait; say which: {command.name} ID")
            for line in describe_waiting(waiting):
                self._print(line)
        elif not waiting:
            self._print("No call waits for approval.")
        elif word == "reject" or waiting[0]["id"] in pause.approvals:
            await self._say(f"{word} {waiting[0]['id']}")
        else:
            ids = [waiting[0]["id"]]
            message = await decide_in_place(self._client, self._console, self._prompt, ids, for_role=True)
            if message is not None:
                await self._say(message)

    def _show_result(self, argument: str) -> None:
        numbers = self._results.numbers
        number = argument or numbers.rpartition(" ")[2]
        shown = self._results.render(int(number)) if number.isdecimal() else None
        if shown is not None:
            self._console.print(shown, soft_wrap=True)
        elif numbers:
            self._print(f"There is no result {argument!r}; there is {numbers}.")
        else:
            self._print("No tool was called yet.")

    async def _continue(self) -> None:
        if self._conversation.messages:
            self._print("This conversation has begun; /new, then /continue goes on with the one before.")
        elif (found := self._saved.find_latest()) is None:
            self._print("There is no conversation to go on with.")
        else:
            self._conversation = self._saved.take_up(found, None)
            await self._show_end()

    async def _show_end(self) -> None:
        """Show the last question and answer of a conversation that was taken up, and ask what still waits."""
        conversation = self._conversation
        questions = [message["content"] for message in conversation.messages if message["role"] == "user"]
        self._note(f"Going on with {conversation.model}, after {len(questions)} of your messages. The last:")
        for message in conversation.messages[-2:]:
            if message["role"] == "user":
                self._console.print(Text.assemble(("you> ", "bold"), escape_invisible(message["content"], keep="\n")))
            else:
                # A call that waits is shown when it is asked about.
                waits = bool(conversation.pause.approvals) and message is conversation.messages[-1]
                shown = drop_pause_words(message["content"]) if waits else message["content"]
                self._console.print(Trimmed(AnswerMarkdown(shown)))
        try:
            if (decision := await self._ask_approval()) is not None:
                await self._say(decision)
        except ChatFailed as error:
            self._console.print(Text(str(error), "red"))

    def _save(self) -> None:
        problem = self._saved.save(self._conversation) if self._conversation.messages else None
        if problem and not self._is_save_problem_shown:
            self._is_save_problem_shown = True
            self._note(f"This conversation cannot be taken up later: {problem}")

    def _print(self, text: str) -> None:
        self._console.print(Text(escape_invisible(text, keep="\n")))

    def _note(self, text: str) -> None:
        self._console.print(Text(text, "dim"))


def describe_age(seconds: float) -> str:
    """Describe how long ago something was, such as "5 minutes"."""
    for unit, size in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
    return "a moment"
