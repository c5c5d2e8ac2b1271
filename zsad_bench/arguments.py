"""What the command line takes: one function a command, free of everything that is slow to import."""

from __future__ import annotations

import re
import sys
from typing import NoReturn

from jsonargparse import ArgumentParser

from zsad_bench import registry

OFFICIAL = ("anomalyclip", "faprompt")  # methods whose released checkpoints can be read and written
# Commands whose options stand with their name in front in what jsonargparse says.
_COMMANDS = "bench|sweep|status|ls|data|check|fetch|samples|prior|table|rows|merge|verify|(?:im|ex)port-checkpoint"


class Parser(ArgumentParser):
    """Wrong usage is one line and exit code 2."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        line = " ".join(str(message).split())
        said = line.split()
        unknown = next((word for word in sys.argv[1:] if word.startswith("--") and word in said), None)
        known = [option for action in self._actions for option in action.option_strings if option.startswith("--")]
        if unknown and ("nrecognized" in line or "not found" in line or "does not accept" in line):
            line = registry.did_you_mean("option", unknown.partition("=")[0], known)
        wrong = re.search(r"invalid choice: '(.+?)' \(choose from (.+)\)", line)
        if wrong:
            line = registry.did_you_mean("command", wrong[1], re.findall(r"'(.+?)'", wrong[2]))
        missing = re.search(r'expected "(?:\w+\.)?(\w+)" to be one of {.*?}, but it was not provided', line)
        if missing:
            line = f"expected one of the commands {', '.join(_subcommands(self, missing[1]))}"
        line = re.sub(rf"\b(?:(?:{_COMMANDS})\.)+(\w+)", r"\1", line)
        prog = self.prog.replace(" [options]", "")
        print(f"{prog}: {line}; see {prog} --help", file=sys.stderr)
        raise SystemExit(2)


def _subcommands(parser: ArgumentParser, dest: str) -> list[str]:
    """The names that `dest` (`command`, or a command's `action`) may have, wherever below the parser it stands."""
    for action in parser._actions:
        if isinstance(action.choices, dict):
            below = [name for inner in action.choices.values() for name in _subcommands(inner, dest)]
            if found := list(action.choices) if action.dest == dest else below:
                return found
    return []


def command_line() -> Parser:
    """The parser of every command."""
    parser = Parser(
        prog="zsad-bench",
        description="Benchmark suite for zero-shot visual anomaly detection.",
        allow_abbrev=False,  # a mistyped option is told, not guessed
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    commands = parser.add_subcommands(dest="command", metavar="COMMAND")
    commands.add_subcommand("bench", _bench_parser(), help="train, test, and write rows and tables")
    commands.add_subcommand("sweep", _sweep_parser(), help="compute what a recipe still lacks, and its tables")
    commands.add_subcommand("status", _status_parser(), help="how a sweep stands, from any shell")
    commands.add_subcommand("ls", _ls_parser(), help="what there is: methods, datasets, priors, backbones")
    data = Parser(description="Datasets.")
    commands.add_subcommand("data", data, help="find, check and fetch datasets, make the generated ones")
    commands.add_subcommand("table", _table_parser(), help="tables from rows: leaderboards, the papers', any other")
    rows = Parser(description="Rows of leaderboards.")
    commands.add_subcommand("rows", rows, help="merge and verify rows")
    commands.add_subcommand("import-checkpoint", _import_parser(), help="an official .pth as a checkpoint of ours")
    commands.add_subcommand("export-checkpoint", _export_parser(), help="a checkpoint of ours as an official .pth")
    commands.add_subcommand("doctor", Parser(description="Devices, weights, datasets, versions, what auto takes."),
                            help="devices, weights, datasets, versions")  # fmt: skip
    actions = rows.add_subcommands(dest="action", metavar="ACTION")
    actions.add_subcommand("merge", _merge_parser(), help="leaderboards of several machines as one")
    actions.add_subcommand("verify", _verify_parser(), help="whether rows can be trusted")
    actions = data.add_subcommands(dest="action", metavar="ACTION")
    actions.add_subcommand("list", _data_list_parser(), help="the real datasets: found or not, where, how many")
    actions.add_subcommand("check", _data_check_parser(), help="open every file of a dataset and say what is wrong")
    actions.add_subcommand("fetch", _data_fetch_parser(), help="download a dataset, or say how to get it")
    actions.add_subcommand("samples", _data_samples_parser(), help="a contact sheet with the outlines of masks")
    actions.add_subcommand("stats", _data_stats_parser(), help="the table of datasets in Markdown")
    actions.add_subcommand("prior", _data_prior_parser(), help="what a prior keeps of its auxiliary data")
    actions.add_subcommand("make-demo", _make_demo_parser(), help="generate the demo datasets into the cache")
    return parser


def _bench_parser() -> Parser:
    parser = Parser(description="Train methods under a prior, test them on targets, write rows and tables.")
    add = parser.add_argument
    add("--method", type=str, required=True, metavar="NAME[,NAME…]", help="see `zsad-bench ls methods`")
    add("--prior", type=str, required=True, metavar="SPEC[,SPEC…]", help="see `zsad-bench ls priors`")
    add("--suite", type=str, default="auto", metavar="auto|demo|paper", help="targets, backbone and image size")
    add(
        "--targets", type=str, metavar="NAME[,NAME…]", help="datasets to test; default: all of the suite that are found"
    )
    add("--backbone", type=str, metavar="NAME", help="an open_clip name, local-dir:FOLDER, or tiny")
    add("--weights", type=str, metavar="PATH", help="a pretrained tag, or a file of weights on this machine")
    add("--checkpoint", type=str, metavar="FILE", help="test this instead of training (one method)")
    add("--seed", type=str, default="0", metavar="N[,N…]", help="of training; several run one after the other")
    add("--draw", type=str, metavar="N[,N…]", help="of the auxiliary data; default: the prior's own, 0")
    add("--epochs", type=int, metavar="N", help="instead of the method's own")
    add(
        "--set",
        type=str,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a field of the method's configuration",
    )
    add(
        "--data",
        type=str,
        action="append",
        default=[],
        metavar="[NAME.]KEY=VALUE",
        help="an option of a dataset, or of all: layout, variant, prompt_names, mask_rule, root, …",
    )
    add("--augment", type=str, metavar="NAME[,NAME…]", help="of training images: flip, rotate, colour, blur")
    add("--cache-images", action="store_true", help="keep decoded and resized images in the cache folder")
    add("--on-bad-image", type=str, default="stop", metavar="stop|skip", help="skip counts what it leaves out")
    add("--out", type=str, default="leaderboards", metavar="FOLDER", help="where <suite>/rows and tables go")
    add("--runs", type=str, default="runs", metavar="FOLDER", help="where configuration, checkpoint and log go")
    return parser


def _sweep_parser() -> Parser:
    parser = Parser(description="Compute what a recipe has no complete rows of yet; a stopped one goes on.")
    add = parser.add_argument
    add("recipe", type=str, metavar="RECIPE|FILE.yaml", help="shipped, or a file; see docs/sweeps.md")
    add("--dry-run", action="store_true", help="print the plan, what it costs and what is done already")
    add("--retry-failed", action="store_true", help="run groups again that failed before")
    add("--executor", type=str, default="serial", metavar="NAME", help="where groups run, a file of sweep/executors")
    add("--together", type=int, default=8, metavar="N", help="trained methods in a group, sharing its passes")
    add("--threads", type=int, metavar="N", help="of a process; default: OMP_NUM_THREADS, else the cores")
    add("--out", type=str, default="leaderboards", metavar="FOLDER", help="where <suite>/rows and tables go")
    add("--runs", type=str, default="runs", metavar="FOLDER", help="where checkpoints, logs and the sweep's state go")
    return parser


def _status_parser() -> Parser:
    parser = Parser(description="How a sweep stands; reads what the sweep writes, here or on another machine.")
    parser.add_argument("recipe", type=str, metavar="RECIPE|FILE.yaml")
    parser.add_argument("--cells", action="store_true", help="group by group instead of counts")
    parser.add_argument("--runs", type=str, default="runs", metavar="FOLDER", help="as given to `sweep`")
    return parser


def _ls_parser() -> Parser:
    parser = Parser(description="List what is registered.")
    parser.add_argument("what", type=str, metavar="methods|datasets|priors|backbones")
    return parser


def _data_list_parser() -> Parser:
    parser = Parser(description="The real datasets, found or not; images are not opened.")
    parser.add_argument("name", type=str, nargs="?", metavar="NAME", help="everything about this one")
    return parser


def _data_check_parser() -> Parser:
    parser = Parser(description="Open every file; exit code 0 is clean, 1 findings, 2 not a dataset.")
    add = parser.add_argument
    add("name", type=str, metavar="NAME|all", help="also folder:PATH and csv:FILE; all: those that are found")
    add("--root", type=str, metavar="FOLDER", help="of the dataset; with all, the folder that holds them (ZSAD_DATA)")
    add("--layout", type=str, metavar="meta_json|mvtec_style|raw", help="instead of the one that is detected")
    add("--json", action="store_true", help="one JSON object a line and dataset, see docs/datasets.md")
    return parser


def _data_fetch_parser() -> Parser:
    parser = Parser(description="Download and unpack a dataset where its licence allows, else say how to get it.")
    parser.add_argument("name", type=str, metavar="NAME")
    parser.add_argument("--into", type=str, metavar="FOLDER", help="what it shall be; default: one under ZSAD_DATA")
    parser.add_argument("--accept-licence", action="store_true", help="where the licence restricts use")
    return parser


def _data_samples_parser() -> Parser:
    parser = Parser(description="Draw some images of each category, the outlines of their masks on them.")
    parser.add_argument("name", type=str, metavar="NAME")
    parser.add_argument("--out", type=str, metavar="FILE.png", help="default: NAME.png in the cache folder")
    parser.add_argument("--per-category", type=int, default=3, metavar="N", help="normal, and as many anomalous images")
    parser.add_argument("--root", type=str, metavar="FOLDER", help="of the dataset")
    return parser


def _data_stats_parser() -> Parser:
    parser = Parser(description="The table of datasets, as appendices of papers have it, in Markdown.")
    parser.add_argument("--out", type=str, metavar="FILE", help="write it there, or between the marker lines there")
    parser.add_argument("--cards", action="store_true", help="without what is found on this machine")
    return parser


def _data_prior_parser() -> Parser:
    parser = Parser(description="What a prior keeps of its auxiliary data, by category and type.")
    parser.add_argument("spec", type=str, metavar="SPEC", help="see `zsad-bench ls priors`")
    parser.add_argument("--suite", type=str, default="paper", metavar="demo|paper", help="what rich and limited mean")
    parser.add_argument("--out", type=str, metavar="MANIFEST.jsonl", help="write what is kept, to be read as @FILE")
    return parser


def _make_demo_parser() -> Parser:
    parser = Parser(description="Generate the demo datasets into the cache (ZSAD_CACHE), unless they are there.")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another draw of all images; the suite uses 0")
    return parser


def _table_parser() -> Parser:
    parser = Parser(description="Tables from rows: a suite's leaderboard, the papers' tables, or any other.")
    add = parser.add_argument
    add("what", type=str, metavar="SUITE|paper|pivot|status|claims|paired", help="a suite: its leaderboard again")
    add("name", type=str, nargs="?", metavar="TABLE|all", help="of paper: faprompt_1 … faprompt_5, dive_rich, …")
    add("--out", type=str, metavar="FOLDER", help="default: leaderboards for a suite, else tables (pivot: nowhere)")
    add("--suite", type=str, metavar="demo|paper", help="whose rows a pivot takes; default: paper where it has any")
    add("--board", type=str, metavar="FOLDER", help="that holds <suite>/rows; default: leaderboards")
    add("--from", type=str, metavar="FOLDER", help="of rows, instead of a suite's")
    add("--mixed", action="store_true", help="of several backbones' or data hashes' rows take the newest run's")
    for option in ("rows", "cols"):
        add(f"--{option}", type=str, metavar="AXIS[,AXIS…]", help="of a pivot: dataset, method, prior, metric, seed, …")
    for option in ("metric", "prior", "method", "dataset", "backbone"):
        add(f"--{option}", type=str, metavar="NAME[,NAME…]", help="keep only these")
    return parser


def _merge_parser() -> Parser:
    parser = Parser(description="Write the union of leaderboards, the same for any order of the folders.")
    parser.add_argument("folders", type=str, nargs="+", metavar="FOLDER", help="leaderboards, or folders of row files")
    parser.add_argument("--out", type=str, required=True, metavar="FOLDER", help="an empty one, or one of them")
    return parser


def _verify_parser() -> Parser:
    parser = Parser(description="Check every row; exit code 1 if a line is bad, doubled, contradicted or mixed.")
    parser.add_argument("folder", type=str, metavar="FOLDER", help="a leaderboard, or a folder of row files")
    return parser


def _import_parser() -> Parser:
    parser = Parser(description="Write an official AnomalyCLIP or FAPrompt checkpoint as one for `bench --checkpoint`.")
    add = parser.add_argument
    add("official", type=str, metavar="FILE.pth", help="as the released code saved it; nothing in it is executed")
    add("--method", type=str, required=True, metavar="|".join(OFFICIAL))
    add("--out", type=str, required=True, metavar="FILE.safetensors")
    add("--backbone", type=str, metavar="NAME", help="as in bench; default: the paper suite's, whose weights may wait")
    add("--weights", type=str, metavar="PATH", help="ties the checkpoint to these weights")
    add("--auxiliary", type=str, metavar="NAME[,NAME…]", help="what it was trained on; default: mvtec")
    add("--set", type=str, action="append", default=[], metavar="KEY=VALUE", help="a field the file does not decide")
    return parser


def _export_parser() -> Parser:
    parser = Parser(description="Write a checkpoint of AnomalyCLIP or FAPrompt under the names of the official code.")
    add = parser.add_argument
    add("checkpoint", type=str, metavar="FILE.safetensors")
    add("--out", type=str, required=True, metavar="FILE.pth")
    add("--backbone", type=str, metavar="NAME", help="default: the checkpoint's; needed for local-dir:FOLDER")
    add("--weights", type=str, metavar="PATH", help="of that backbone, when they are not in the cache")
    return parser
