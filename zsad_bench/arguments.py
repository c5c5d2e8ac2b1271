"""What the command line takes: one function a command, free of everything that is slow to import."""

from __future__ import annotations

from collections.abc import Callable

from zsad_bench.usage import Parser

OFFICIAL = ("anomalyclip", "faprompt")  # methods whose released checkpoints can be read and written


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
    commands.add_subcommand("figure", _figure_parser(), help="the papers' figures and others, as SVG and PNG")
    commands.add_subcommand("page", _page_parser(), help="a suite's leaderboard as one HTML file, with pictures")
    rows = Parser(description="Rows of leaderboards.")
    commands.add_subcommand("rows", rows, help="merge, verify and export rows")
    track = Parser(description="The wandb mirror of rows, see docs/wandb.md.")
    commands.add_subcommand("track", track, help="push rows to wandb, and make a dashboard there")
    commands.add_subcommand("import-checkpoint", _import_parser(), help="an official .pth as a checkpoint of ours")
    commands.add_subcommand("export-checkpoint", _export_parser(), help="a checkpoint of ours as an official .pth")
    commands.add_subcommand("doctor", Parser(description="Devices, weights, datasets, versions, what auto takes."),
                            help="devices, weights, datasets, versions")  # fmt: skip
    actions = rows.add_subcommands(dest="action", metavar="ACTION")
    actions.add_subcommand("merge", _merge_parser(), help="leaderboards of several machines as one")
    actions.add_subcommand("verify", _verify_parser(), help="whether rows can be trusted")
    actions.add_subcommand("export", _export_rows_parser(), help="every field of the rows that stand, as CSV")
    actions = track.add_subcommands(dest="action", metavar="ACTION")
    actions.add_subcommand("sync", _track_sync_parser(), help="push rows: means, tables, tags")
    actions.add_subcommand("dashboard", _track_dashboard_parser(), help="create the workspace that compares runs")
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
        "--targets",
        type=str,
        metavar="NAME[:CATEGORY][,…]",
        help="datasets to test, folder:PATH and csv:FILE too; default: all of the suite that are found",
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
    _add_partial(add)
    add("--out", type=str, default="leaderboards", metavar="FOLDER", help="where <suite>/rows and tables go")
    add("--runs", type=str, default="runs", metavar="FOLDER", help="where configuration, checkpoint and log go")
    _add_executor(add)
    _add_track(add)
    return parser


def _add_partial(add: Callable[..., object]) -> None:
    add("--partial", action="store_true", help="use datasets that are not all there; what is missing is said")


def _add_executor(add: Callable[..., object]) -> None:
    add("--executor", type=str, default="auto", metavar="auto|serial|ray|slurm", help="auto: ray on several GPUs")
    add("--gpus", type=int, metavar="N", help="of this machine; default: all that are visible; see docs/cluster.md")
    add("--slurm", type=str, action="append", default=[], metavar="KEY=VALUE", help="of sbatch: partition, time, …")


def _add_track(add: Callable[..., object]) -> None:
    add("--track", type=str, default="auto", metavar="auto|online|offline|off", help="wandb; auto: when logged in")


def _sweep_parser() -> Parser:
    parser = Parser(description="Compute what a recipe has no complete rows of yet; a stopped one goes on.")
    add = parser.add_argument
    add("recipe", type=str, metavar="RECIPE|FILE.yaml", help="shipped, or a file; see docs/sweeps.md")
    add("--dry-run", action="store_true", help="print the plan, what it costs and what is done already")
    add("--retry-failed", action="store_true", help="run groups again that failed before")
    _add_executor(add)
    add("--together", type=int, metavar="N", help="most trained methods in a group; default: 8, fewer for GPUs")
    add("--threads", type=int, metavar="N", help="of a process; default: OMP_NUM_THREADS, else its share of cores")
    add("--out", type=str, default="leaderboards", metavar="FOLDER", help="where <suite>/rows and tables go")
    add("--runs", type=str, default="runs", metavar="FOLDER", help="where checkpoints, logs and the sweep's state go")
    _add_track(add)
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
    parser.add_argument("name", type=str, metavar="NAME[:CATEGORY]", help="also folder:PATH and csv:FILE")
    parser.add_argument("--out", type=str, metavar="FILE.png", help="default: NAME.png in the cache folder")
    _add_partial(parser.add_argument)
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
    _add_partial(parser.add_argument)
    return parser


def _make_demo_parser() -> Parser:
    parser = Parser(description="Generate the demo datasets into the cache (ZSAD_CACHE), unless they are there.")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another draw of all images; the suite uses 0")
    return parser


def _table_parser() -> Parser:
    parser = Parser(description="Tables from rows: a suite's leaderboard, the papers' tables, or any other.")
    add = parser.add_argument
    add("what", type=str, metavar="SUITE|paper|pivot|status|claims|paired|prior_curve|dive_claims",
        help="a suite: its leaderboard again")  # fmt: skip
    add("name", type=str, nargs="?", metavar="TABLE|all", help="of paper: faprompt_1 … faprompt_5, dive_rich, …")
    add("--out", type=str, metavar="FOLDER", help="default: leaderboards for a suite, else tables (pivot: nowhere)")
    add("--suite", type=str, metavar="demo|paper", help="whose rows a pivot takes; default: paper where it has any")
    add("--board", type=str, metavar="FOLDER", help="that holds <suite>/rows; default: leaderboards")
    add("--from", type=str, metavar="FOLDER", help="of rows, instead of a suite's")
    add("--runs", type=str, metavar="FOLDER", help="of status: where sweeps keep how long they trained; default: runs")
    add("--mixed", action="store_true", help="of several backbones' or data hashes' rows take the newest run's")
    for option in ("rows", "cols"):
        add(f"--{option}", type=str, metavar="AXIS[,AXIS…]", help="of a pivot: dataset, method, prior, metric, seed, …")
    for option in ("metric", "prior", "method", "dataset", "backbone"):
        add(f"--{option}", type=str, metavar="NAME[,NAME…]", help="keep only these")
    return parser


def _figure_parser() -> Parser:
    parser = Parser(description="Draw figures from rows, pictures and checkpoints; `figure list` says what there is.")
    add = parser.add_argument
    add("name", type=str, metavar="NAME|all|list")
    add("--out", type=str, default="figures", metavar="FOLDER", help="where NAME.svg and NAME.png go")
    add("--suite", type=str, metavar="demo|paper", help="whose rows; default: paper where it has any")
    add("--board", type=str, default="leaderboards", metavar="FOLDER", help="that holds <suite>/rows and pictures")
    add("--from", type=str, metavar="FOLDER", help="of rows, instead of a suite's")
    add("--runs", type=str, default="runs", metavar="FOLDER", help="where checkpoints are looked for")
    add("--mixed", action="store_true", help="of several backbones' or data hashes' rows take the newest run's")
    add("--backbone", type=str, metavar="NAME[,NAME…]", help="keep only rows of these")
    for option in ("metric", "prior", "method", "dataset"):
        add(f"--{option}", type=str, metavar="NAME[,NAME…]", help="show only these")
    add("--image", type=str, metavar="TEXT[,TEXT…]", help="part of an image's id; default: those with large defects")
    add("--seed", type=int, metavar="N", help="of training, for maps and checkpoints; default 0")
    add("--draw", type=int, metavar="N", help="of the auxiliary data, for maps and checkpoints; default 0")
    add("--checkpoint", type=str, metavar="FILE", help="instead of one that is found under --runs")
    add("--weights", type=str, metavar="PATH", help="of the checkpoint's backbone, as in bench")
    return parser


def _page_parser() -> Parser:
    parser = Parser(description="Write a leaderboard as one HTML file that needs no network, see docs/page.md.")
    add = parser.add_argument
    add("suite", type=str, metavar="SUITE", help="whose rows: demo or paper")
    add("--board", type=str, default="leaderboards", metavar="FOLDER", help="that holds <suite>/rows and pictures")
    add("--out", type=str, metavar="FILE.html", help="default: index.html beside the rows")
    add("--photos", action="store_true", help="also pictures whose licence does not let them be passed on")
    add("--megabytes", type=float, default=5.0, metavar="N", help="of the file; pictures that do not fit are left out")
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


def _export_rows_parser() -> Parser:
    parser = Parser(description="Write the rows that stand as one CSV file, for a spreadsheet or a notebook.")
    parser.add_argument("folder", type=str, metavar="FOLDER", help="a leaderboard, or a folder of row files")
    parser.add_argument("--out", type=str, required=True, metavar="FILE")
    return parser


def _track_sync_parser() -> Parser:
    parser = Parser(description="Push a suite's rows to wandb; doing it again gives the same runs.")
    add = parser.add_argument
    add("suite", type=str, metavar="SUITE", help="whose rows: demo or paper")
    add("--board", type=str, default="leaderboards", metavar="FOLDER", help="that holds <suite>/rows")
    add("--runs", type=str, default="runs", metavar="FOLDER", help="where offline files and states of sweeps lie")
    add("--offline", action="store_true", help="write files instead, for `wandb sync`")
    add("--maps", action="store_true", help="add the kept pictures of every dataset, whatever its licence")
    _add_place(add)
    return parser


def _track_dashboard_parser() -> Parser:
    parser = Parser(description="Create a workspace with table, priors side by side, prior curve, maps and losses.")
    add = parser.add_argument
    add("suite", type=str, metavar="SUITE", help="whose runs: demo or paper")
    add("--dry-run", action="store_true", help="print what would be created, as JSON; needs no network")
    _add_place(add)
    return parser


def _add_place(add: Callable[..., object]) -> None:
    add("--project", type=str, metavar="NAME", help="default: WANDB_PROJECT, else zsad-bench")
    add("--entity", type=str, metavar="NAME", help="user or team; default: WANDB_ENTITY, else your own")


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
