"""Print what makes a shell complete commands, options, methods and datasets.

eval "$(zsad-bench completion bash)"        # in ~/.bashrc; zsh: in ~/.zshrc
zsad-bench completion fish | source         # in ~/.config/fish/config.fish
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from zsad_bench.completion import ASKED
from zsad_bench.options import Argument

_BASH = f"""_zsad_bench() {{
  local IFS=$'\\n'
  COMPREPLY=($({ASKED}=1 zsad-bench "${{COMP_WORDS[@]:1:$COMP_CWORD}}" 2>/dev/null))
}}
complete -o default -F _zsad_bench zsad-bench
"""
SCRIPTS = {
    "bash": _BASH,
    "zsh": f"autoload -Uz compinit bashcompinit && compinit && bashcompinit\n{_BASH}",
    "fish": (
        f"complete -c zsad-bench -a '({ASKED}=1 zsad-bench (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'\n"
    ),
}


@dataclass(frozen=True, kw_only=True)
class Options:
    shell: Annotated[Literal["bash", "zsh", "fish"], Argument("SHELL", "bash, zsh or fish", what="shell")]


def run(options: Options) -> int:
    """Prints the script."""
    print(SCRIPTS[options.shell], end="")
    return 0
