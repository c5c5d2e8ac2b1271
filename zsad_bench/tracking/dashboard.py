"""The workspace that compares runs, by code: table, priors side by side, prior curve, maps, losses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from zsad_bench import metric_keys
from zsad_bench.errors import ZsadError

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace

METRICS = metric_keys.headline()
_AMOUNTS = {"prior_types": "kinds of anomaly", "prior_shots": "anomalous images"}


def workspace(entity: str, project: str, suite: str, targets: Sequence[str]) -> Workspace:
    """The workspace of a suite's runs, not saved yet. targets: whose maps it shows.

    Raises:
        ZsadError: the package that builds it is not installed.
    """
    try:
        from wandb_workspaces import expr
        from wandb_workspaces import workspaces as ws
        from wandb_workspaces.reports import v2 as wr
    except ImportError as error:
        raise ZsadError(
            f"track dashboard needs wandb-workspaces ({error}); pip install 'zsad-bench[dashboard]'"
        ) from None
    bars = [
        wr.BarPlot(
            title=f"{metric}: mean over targets, seeds and draws",
            metrics=[f"mean/{metric}"],
            groupby=wr.Config("line"),
            groupby_aggfunc="mean",
            groupby_rangefunc="stddev",
            max_bars_to_show=40,
        )
        for metric in METRICS
    ]
    curve = [
        wr.ScatterPlot(
            title=f"{metric} against {what} learned from",
            x=wr.Config(amount),
            y=wr.SummaryMetric(f"mean/{metric}"),
            log_x=True,
            legend_template="${run:displayName}",
        )
        for amount, what in _AMOUNTS.items()
        for metric in ("image_auroc", "pixel_auroc")
    ]
    maps = [
        wr.MediaBrowser(title=f"maps of {target}", media_keys=[f"maps/{target}"], num_columns=4) for target in targets
    ]
    losses = wr.LinePlot(title="loss, all stages", metric_regex="^train/.*/loss$", max_runs_to_show=40)
    sections = {  # name -> columns, rows and panels
        "Results": (1, 2, [wr.WeavePanelSummaryTable(table_name="results")]),
        "Rich against limited prior": (2, 2, bars),
        "Prior curve": (2, 2, curve),
        "Maps": (1, 2, maps),
        "Training": (1, 1, [losses]),
    }
    return ws.Workspace(
        entity=entity,
        project=project,
        name=f"zsad_bench, suite {suite}",
        sections=[
            ws.Section(
                name=name,
                panels=panels,
                is_open=True,
                layout_settings=ws.SectionLayoutSettings(columns=columns, rows=rows),
            )
            for name, (columns, rows, panels) in sections.items()
        ],
        settings=ws.WorkspaceSettings(max_runs=100),
        runset_settings=ws.RunsetSettings(
            filters=expr.And(expr.Config("suite") == suite),
            order=[expr.Ordering(expr.Config(name), ascending=True) for name in ("method", "prior", "seed", "draw")],
            pinned_columns=["config:method", "config:prior", *(f"summary:mean/{metric}" for metric in METRICS)],
        ),
    )


def spec(made: Workspace) -> str:
    """What would be sent to create it, as JSON."""
    content: dict[str, Any] = made._to_model().spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    return json.dumps({"entity": made.entity, "project": made.project, "name": made.name, "spec": content}, indent=1)
