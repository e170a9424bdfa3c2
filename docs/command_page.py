"""The page of the command `tokenzoo`: every subcommand with its arguments and options, from the code. Used by `site_hooks.py`."""

import re
from typing import Any

import click
from tokenzoo.cli.app import app
from typer.main import get_command


def page() -> str:
    """Markdown of all commands."""
    root: Any = get_command(app)
    lines = [
        "# The command",
        "",
        "`tokenzoo COMMAND --help` shows the same. The model comes first, then files, folders or patterns.",
        "",
    ]
    for name, command in root.commands.items():
        lines += _section(f"tokenzoo {name}", command)
    return "\n".join(lines)


def _section(name: str, command: Any) -> list[str]:
    if hasattr(command, "commands"):
        return [line for sub, inner in command.commands.items() for line in _section(f"{name} {sub}", inner)]
    arguments, options = [], []
    for parameter in command.params:
        if getattr(parameter, "hidden", False):
            continue
        spelled = ", ".join([*parameter.opts, *parameter.secondary_opts])
        text = _plain(getattr(parameter, "help", "") or "")
        if parameter.param_type_name == "argument":
            arguments.append(f"| `{(parameter.metavar or parameter.name).upper()}` | {text} |")
        elif "--help" not in parameter.opts:
            default = (
                "" if parameter.default in (None, False, ()) or callable(parameter.default) else f" Default: `{parameter.default}`."
            )
            options.append(f"| `{spelled}` | {text}{default} |")
    usage = " ".join([name, *command.collect_usage_pieces(click.Context(command))])
    table = [*arguments, *options]
    head = ["| argument or option | meaning |", "|---|---|"] if table else []
    return [f"## {name}", "", _plain(command.help or ""), "", f"    {usage}", "", *head, *table, ""]


def _plain(text: str) -> str:
    """Help as Markdown of one paragraph."""
    words = re.sub(r"\s+", " ", text.replace("\b", "")).strip()
    parts = re.split(r"(`[^`]*`)", words)
    return "".join(
        p if p.startswith("`") else p.replace("<", "&lt;").replace("|", "\\|").replace("[", "\\[").replace("*", "\\*") for p in parts
    )
