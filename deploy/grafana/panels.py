"""What the dashboards are built from: queries that give a number whatever happens, and panels that look alike.

The queries are PromQL as Prometheus and VictoriaMetrics both understand it. None is empty or NaN while nothing happens: a sum over
nothing is 0, a ratio of nothing is 0, a quantile of nothing is 0.
"""

from dataclasses import dataclass

from grafana_foundation_sdk.builders import common, prometheus, stat, timeseries
from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable, QueryVariable, Row, ThresholdsConfig
from grafana_foundation_sdk.builders.dashboard import DashboardLink
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DashboardLinkType, Threshold, ThresholdsMode
from grafana_foundation_sdk.models.dashboard import VariableOption, VariableRefresh, VariableSort

SOURCE = kinds.DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG = "textslash"


def or_zero(query: str, by: str = "") -> str:
    """0 instead of nothing. With labels, `or` alone would add a series beside those that are there."""
    return f"{query} or on() vector(0)" if by else f"{query} or vector(0)"


def ratio(part: str, whole: str) -> str:
    """How much of `whole` is `part`; 0 when there is nothing of either."""
    return f"({part}) / clamp_min({whole}, 1e-9)"


@dataclass(frozen=True)
class Scope:
    """Which series a dashboard is about: matchers that every query of it has."""

    matchers: str

    def series(self, metric: str, where: str = "") -> str:
        return f"{metric}{{{self.matchers}{',' if where else ''}{where}}}"

    def now(self, metric: str, where: str = "", by: str = "", how: str = "sum") -> str:
        """What gauges say. `max` for what the relays share, `sum` for what each has of its own."""
        return or_zero(f"{how}{_by(by)} ({self.series(metric, where)})", by)

    def rate(self, metric: str, where: str = "", by: str = "") -> str:
        """Per second, over all instances."""
        return or_zero(f"sum{_by(by)} (rate({self.series(metric, where)}[$__rate_interval]))", by)

    def total(self, metric: str, where: str = "", by: str = "") -> str:
        """How many in the dashboard's time range, over all instances."""
        return or_zero(f"sum{_by(by)} (increase({self.series(metric, where)}[$__range]))", by)

    def in_step(self, metric: str, where: str = "", by: str = "") -> str:
        """How many in each interval, for what happens seldom."""
        return or_zero(f"sum{_by(by)} (increase({self.series(metric, where)}[$__rate_interval]))", by)

    def quantile(self, share: float, metric: str, where: str = "", by: str = "") -> str:
        """Of a histogram, named without `_bucket`. The comparison drops the NaN of a histogram without observations."""
        labels = f"le, {by}" if by else "le"
        rate = f"rate({self.series(metric + '_bucket', where)}[$__rate_interval])"
        return or_zero(f"(histogram_quantile({share}, sum by ({labels}) ({rate})) >= 0)", by)

    def mean(self, metric: str, where: str = "", by: str = "") -> str:
        """Of a histogram, named without `_sum` and `_count`."""
        rates = [f"sum{_by(by)} (rate({self.series(metric + end, where)}[$__rate_interval]))" for end in ("_sum", "_count")]
        return or_zero(ratio(*rates), by)


def _by(labels: str) -> str:
    return f" by ({labels})" if labels else ""


@dataclass(frozen=True)
class Query:
    """A query, and what its lines are called."""

    expression: str
    legend: str


def _targets(panel, queries: list[Query], instant: bool):
    for number, query in enumerate(queries):
        target = prometheus.Dataquery().expr(query.expression).legend_format(query.legend).ref_id(chr(ord("A") + number))
        panel.with_target(target.instant() if instant else target.range())
    return panel


def lines(title: str, description: str, unit: str, queries: list[Query], *, width: int = 8, stacked: bool = False,
          top: float | None = None, limit: float | None = None):
    """Lines over time; `limit` is drawn as a line of its own, `top` is the end of the axis."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .unit(unit)
        .datasource(SOURCE)
        .height(8)
        .span(width)
        .min(0)
        .line_width(1.5)
        .fill_opacity(30 if stacked else 8)
        .show_points(kinds.VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .display_mode(kinds.LegendDisplayMode.LIST)
            .placement(kinds.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI).sort(kinds.SortOrder.DESCENDING))
    )
    if stacked:
        panel.stacking(common.StackingConfig().mode(kinds.StackingMode.NORMAL).group("A"))
    if top is not None:
        panel.max(top)
    if limit is not None:
        panel.thresholds(_steps([("transparent", None), ("red", limit)]))
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(kinds.GraphThresholdsStyleMode.LINE))
    return _targets(panel, queries, instant=False)


def number(title: str, description: str, unit: str, queries: list[Query], *, width: int = 4, decimals: int | None = None,
           steps: list[tuple[str, float | None]] | None = None):
    """One number each, as of now or over the time range, coloured by `steps`."""
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .unit(unit)
        .datasource(SOURCE)
        .height(4)
        .span(width)
        .color_mode(kinds.BigValueColorMode.VALUE)
        .graph_mode(kinds.BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        .thresholds(_steps(steps or [("text", None)]))
    )
    if decimals is not None:
        panel.decimals(decimals)
    return _targets(panel, queries, instant=True)


def _steps(steps: list[tuple[str, float | None]]) -> ThresholdsConfig:
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps([Threshold(value=at, color=color) for color, at in steps])


def variable(name: str, label: str, description: str, query: str, *, all_value: str | None = None) -> QueryVariable:
    """A choice among the values of a label; all of them until one chooses."""
    choice = (
        QueryVariable(name)
        .label(label)
        .description(description)
        .datasource(SOURCE)
        .query({"query": query, "refId": name})
        .definition(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .current(VariableOption(selected=True, text=["All"], value=["$__all"]))
    )
    return choice.all_value(all_value) if all_value else choice


def dashboard(name: str, title: str, description: str, variables: list[QueryVariable], sections: list[tuple[str, list]]) -> Dashboard:
    """Panels in rows under headings. It is changed here, not in Grafana."""
    board = (
        Dashboard(f"Textslash: {title}")
        .uid(f"textslash-{name}")
        .description(description)
        .tags([TAG])
        .readonly()
        .timezone("browser")
        .time("now-6h", "now")
        .refresh("30s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(DashboardLink("Textslash").type(DashboardLinkType.DASHBOARDS).tags([TAG]).include_vars(False).keep_time(True))
        .with_variable(DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )
    for choice in variables:
        board.with_variable(choice)
    for heading, panels in sections:
        board.with_row(Row(heading))
        for panel in panels:
            board.with_panel(panel)
    return board
