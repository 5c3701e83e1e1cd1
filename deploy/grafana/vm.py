"""The VMs and the agents on them."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

import panels
from panels import Query, Scope, lines, number, ratio

VMS = Scope('app=~"$app",instance=~"$instance"')
EACH = "instance"
RUNS = "textslash_vm_run_duration_seconds"
REQUESTS = "http_server_request_duration_seconds"


def each(expression: str) -> list[Query]:
    return [Query(expression, "{{instance}}")]


def quantiles(metric: str) -> list[Query]:
    return [Query(VMS.quantile(share, metric), f"p{share * 100:g}") for share in (0.5, 0.95)]


def overview() -> list:
    runs = VMS.total("textslash_vm_runs_total")
    failed = VMS.total("textslash_vm_runs_total", 'end=~"failed|interrupted"')
    dollars = VMS.total("textslash_vm_cost_dollars_total")
    return [
        number("Runs at work now", "Runs that agents work on now.", "short", [Query(VMS.now("textslash_vm_runs_active"), "runs")], decimals=0),
        number("Runs ended", "In the time range.", "short", [Query(runs, "runs")], decimals=0),
        number("Failed", "Share of runs that failed or were interrupted, in the time range.", "percentunit", [Query(ratio(failed, runs), "failed")],
               decimals=1, steps=[("green", None), ("orange", 0.05), ("red", 0.2)]),
        number("Cost", "What the model cost in the time range, as far as the driver tells.", "currencyUSD", [Query(dollars, "dollars")], decimals=2),
        number("Cost per run", "In the time range, as far as the driver tells.", "currencyUSD",
               [Query(f"({dollars}) / clamp_min({runs}, 1)", "dollars per run")], decimals=3),
        number("Reports waiting now", "Reports that no relay has taken yet. Above 0 for more than moments, relays or Redis can't be reached.", "short",
               [Query(VMS.now("textslash_vm_reports_waiting"), "reports")], decimals=0, steps=[("green", None), ("orange", 1), ("red", 50)]),
    ]


def runs() -> list:
    return [
        lines("Runs, by how they ended", "With changes, with an answer, failed, cancelled, interrupted by a restart. Per interval.", "short",
              [Query(VMS.in_step("textslash_vm_runs_total", by="end"), "{{end}}")], stacked=True),
        lines("Run duration", "From the start of a run to the end of its work. 0 when none ended.", "s", quantiles(RUNS)),
        lines("Runs at work", "Runs that agents work on, by VM.", "short", each(VMS.now("textslash_vm_runs_active", by=EACH))),
        lines("Cancel time", "From a cancellation to its confirmation, when no process of the run is left. 0 when none was cancelled.", "s",
              quantiles("textslash_vm_cancel_duration_seconds")),
        lines("Tools", "Uses of tools by the agent, per second.", "ops",
              [Query(VMS.rate("textslash_vm_tool_duration_seconds_count", by="tool"), "{{tool}}")], stacked=True),
        lines("Tool duration, mean", "How long uses of tools took.", "s", [Query(VMS.mean("textslash_vm_tool_duration_seconds", by="tool"), "{{tool}}")]),
    ]


def model() -> list:
    return [
        lines("Tokens", "Per second, as far as the driver tells.", "short", [Query(VMS.rate("textslash_vm_tokens_total", by="type"), "{{type}}")],
              width=12, stacked=True),
        lines("Dollars", "Per interval, as far as the driver tells.", "currencyUSD", [Query(VMS.in_step("textslash_vm_cost_dollars_total"), "dollars")], width=12),
    ]


def boundary() -> list:
    return [
        lines("Refusals", "What was refused: forged requests, relays that were not the newest, hosts, uses of the API key, pictures. Per interval.", "short",
              [Query(VMS.in_step("textslash_vm_refusals_total", by="layer"), "{{layer}}")], stacked=True),
        lines("Reports", "Reports to relays, per second.", "ops", [Query(VMS.rate("textslash_vm_reports_total", by="result"), "{{result}}")], stacked=True),
        lines("Reports waiting", "Reports that no relay has taken yet, by VM.", "short", each(VMS.now("textslash_vm_reports_waiting", by=EACH))),
        lines("Requests", "Requests of relays that were answered, by route, per second.", "reqps",
              [Query(VMS.rate(f"{REQUESTS}_count", by="http_route"), "{{http_route}}")]),
        lines("Errors", "Answers of 500 and above, per second.", "reqps",
              each(VMS.rate(f"{REQUESTS}_count", 'http_response_status_code=~"5.."', by=EACH))),
        lines("Request duration, p95", "95 of 100 requests were answered faster.", "s", each(VMS.quantile(0.95, REQUESTS, by=EACH))),
    ]


def machine() -> list:
    return [
        lines("Room on the volume", "Free bytes. Runs are refused when it is nearly full.", "bytes", each(VMS.now("textslash_vm_volume_free_bytes", by=EACH))),
        lines("Memory", "Resident memory of vm-agent itself. What agents use has a limit of its own.", "bytes", each(VMS.now("process_resident_memory_bytes", by=EACH))),
        lines("CPU", "Processors that vm-agent itself uses.", "short", each(VMS.rate("process_cpu_seconds_total", by=EACH))),
    ]


def dashboard() -> Dashboard:
    variables = [
        panels.variable("app", "VM app", "The VMs' app on Fly, or what the scrape configuration calls it.",
                        "label_values(textslash_vm_runs_active, app)", all_value=".*"),
        panels.variable("instance", "VM", "The machine that vm-agent runs on.",
                        'label_values(textslash_vm_runs_active{app=~"$app"}, instance)'),
    ]
    return panels.dashboard(
        "vm", "VM and agent", "The VMs and their agents: runs, tools, tokens and dollars, what was refused, what waits. A VM that sleeps tells nothing.", variables,
        [("At a glance", overview()), ("Runs", runs()), ("Model", model()), ("Boundary", boundary()), ("Machine", machine())],
    )
