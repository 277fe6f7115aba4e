"""docs/reference/cli.md against the commands and options there are, and the codes the commands use."""

import re

import pytest
import typer.main

from skein.cli.app import app
from tests.architecture import documents

CLI = documents.ROOT / "skein" / "cli"
DOCUMENT = (documents.DOCS / "reference" / "cli.md").read_text()
PROGRAM = typer.main.get_command(app)
HELP = {"--help", "-h"}


def commands(group, prefix="") -> dict:
    """Every command by its name, `jobs log` too."""
    found = {}
    for name, command in group.commands.items():
        inner = commands(command, f"{prefix}{name} ") if hasattr(command, "commands") else {}
        if not inner or command.invoke_without_command:
            found[prefix + name] = command
        found |= inner
    return found


COMMANDS = commands(PROGRAM)


def sections() -> dict[str, str]:
    """Command -> its section; "" has what comes before all of them."""
    first, *others = re.split(r"^## `skein (?=[a-z])", DOCUMENT, flags=re.MULTILINE)
    return {"": first, **{_command(section): section for section in others}}


def _command(section: str) -> str:
    """The words in lower case that its heading begins with."""
    return re.match(r"[a-z-]+(?: [a-z-]+)*", section)[0]


def documented(section: str) -> set[str]:
    """The options in the first column of its tables."""
    rows = re.findall(r"^\| (`-.*?`) \|", section, flags=re.MULTILINE)
    return {option for row in rows for option in re.findall(r"`(-[-a-z]+)", row)}


def options(command) -> set[str]:
    return {
        name
        for parameter in command.params
        if parameter.param_type_name == "option"
        for name in parameter.opts
    }


def test_every_command_has_a_section():
    assert set(sections()) - {""} == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_in_the_section_of_its_command(name):
    common = set() if name.startswith(("serve", "backup")) else {"--server", "--data"}

    assert documented(sections()[name]) | common | HELP == options(COMMANDS[name]) | HELP


def test_options_of_all_commands_are_documented_once():
    assert documented(sections()[""]) == options(PROGRAM) - HELP | {"--server", "--data"}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_arguments_are_in_the_headings(name):
    arguments = [parameter for parameter in COMMANDS[name].params if parameter.param_type_name == "argument"]
    heading = sections()[name].splitlines()[0]

    assert [word.strip(".").lower() for word in heading.removeprefix(name).strip("`").split()] == [
        argument.name for argument in arguments
    ]


def test_codes_of_the_command_itself_are_documented():
    used = {
        code
        for path in CLI.rglob("*.py")
        for code in re.findall(r'CliError\(\s*"([a-z_]+)"', path.read_text())
    }
    errors = (documents.DOCS / "reference" / "errors.md").read_text()

    assert len(used) >= 5
    assert {code for code in used if f"| `{code}` |" not in DOCUMENT and f"`{code}`" not in errors} == set()


def told_to_type(text: str) -> list[list[str]]:
    """The words of the command lines of Skein, in code within a text and in terminals."""
    lines = re.findall(r"`skein ([a-z][^`]+)`", text)
    lines += re.findall(r"^(?:\$ )?skein ([a-z].+)", text.replace("\\\n", " "), re.MULTILINE)
    return [line.split() for line in lines]


@pytest.mark.parametrize("page", documents.pages(), ids=documents.name)
def test_commands_that_a_page_tells_to_type_are_there(page):
    unknown = []
    for words in told_to_type(page.read_text()):
        named = [name for name in COMMANDS if words[: len(name.split())] == name.split()]
        known = {option for name in named for option in options(COMMANDS[name])} | HELP
        wrong = [word for word in words if re.match("--[a-z]", word) and word not in known]
        if wrong or words[0] not in PROGRAM.commands:
            unknown.append(" ".join(words))
    assert unknown == []
