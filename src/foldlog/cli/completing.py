"""The verb that makes a shell complete the others: completion. The script is click's; it calls foldlog back."""

from typing import Final

import click
from click.shell_completion import get_completion_class

_SHELLS: Final = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the script.")
def completion(shell: str, *, as_json: bool) -> None:
    """Print what makes a shell complete foldlog.

    Verbs, options, files, and the ids of sessions once a store is named. Put the example's line where your
    shell starts: ~/.bashrc, ~/.zshrc; for fish, ~/.config/fish/completions/foldlog.fish.

    \b
    Example:   eval "$(foldlog completion bash)"
               eval "$(foldlog completion zsh)"
               foldlog completion fish > foldlog.fish
    """
    from foldlog.cli.forms import print_json  # noqa: PLC0415  (a shell's start waits for the script)
    from foldlog.cli.main import cli  # noqa: PLC0415  (it is what imports this module)

    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101  (click has these three)
    script = kind(cli, {}, "foldlog", "_FOLDLOG_COMPLETE")
    text = script.source_template % script.source_vars()  # source() would run bash to ask its version
    if as_json:
        print_json("completion", {"shell": shell, "script": text})
    else:
        click.echo(text)


COMMANDS: Final = (completion,)
