"""Each relay machine: for finding the one that is different."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

import panels
from panels import Query, Scope, lines, or_zero

RELAYS = Scope('app=~"$app",instance=~"$instance"')
EACH = "instance"
REQUESTS = "http_server_request_duration_seconds"
STORE = "db_client_operation_duration_seconds"


def each(expression: str) -> list[Query]:
    return [Query(expression, "{{instance}}")]


def requests() -> list:
    return [
        lines("Requests", "Requests answered, per second and machine. Very different numbers mean that the proxy does not spread them.", "reqps",
              each(RELAYS.rate(f"{REQUESTS}_count", by=EACH))),
        lines("Errors", "Answers of 500 and above, per second and machine.", "reqps",
              each(RELAYS.rate(f"{REQUESTS}_count", 'http_response_status_code=~"5.."', by=EACH))),
        lines("Duration, p95", "95 of 100 requests were answered faster. Event streams of consoles are left out: they last as long as the page is open.", "s",
              each(RELAYS.quantile(0.95, REQUESTS, 'http_route!="/console/events"', by=EACH))),
        lines("Requests, by route", "Requests answered, per second.", "reqps",
              [Query(RELAYS.rate(f"{REQUESTS}_count", by="http_route"), "{{http_route}}")], width=12),
        lines("Answers, by status", "Requests answered, per second.", "reqps",
              [Query(RELAYS.rate(f"{REQUESTS}_count", by="http_response_status_code"), "{{http_response_status_code}}")], width=12, stacked=True),
    ]


def conversations() -> list:
    return [
        lines("Turns being taken", "Conversations that a machine works on now.", "short", each(RELAYS.now("textslash_turns_active", by=EACH))),
        lines("Turn duration, p95", "From taking a conversation to giving it back.", "s", each(RELAYS.quantile(0.95, "textslash_turn_duration_seconds", by=EACH))),
        lines("Deadline lag, p95", "How late a due conversation was taken. 0 when none was due.", "s",
              each(RELAYS.quantile(0.95, "textslash_deadline_lag_seconds", by=EACH))),
        lines("Leases, by how they were taken", "With an event that arrived, because a deadline had passed, or from a relay that did not give it back. Per second.", "ops",
              [Query(RELAYS.rate("textslash_leases_total", by="how"), "{{how}}")], stacked=True),
        lines("Lease takeovers", "Conversations taken from a relay that did not give them back: it died, froze or was cut off. Per interval, by the machine that took them.", "short",
              each(RELAYS.in_step("textslash_leases_total", 'how="takeover"', by=EACH))),
        lines("Effects, mean duration", "Tries to carry something out: chat messages, calls of VMs.", "s",
              [Query(RELAYS.mean("textslash_effect_duration_seconds", by="effect"), "{{effect}}")]),
        lines("Effects, by outcome", "Tries to carry something out, per second. `no_answer` of `start_run` is a VM that sleeps.", "ops",
              [Query(RELAYS.rate("textslash_effect_duration_seconds_count", by="outcome"), "{{outcome}}")], width=24, stacked=True),
    ]


def store() -> list:
    return [
        lines("Store latency, p95", "Calls of the store, by machine. One machine alone: its network. All of them: the store.", "s",
              each(RELAYS.quantile(0.95, STORE, by=EACH))),
        lines("Store latency, by operation, p95", "Calls of the store.", "s",
              [Query(RELAYS.quantile(0.95, STORE, by="db_operation_name"), "{{db_operation_name}}")]),
        lines("Store commands", "Commands of Redis per second that these calls amount to, as a hosted one bills them.", "ops",
              each(RELAYS.rate("textslash_store_commands_total", by=EACH))),
        lines("Store errors", "Calls of the store that failed, per second.", "ops",
              each(RELAYS.rate(f"{STORE}_count", 'error_type!=""', by=EACH)), width=12),
        lines("Store reconnects", "Connections to the store that were made again, per interval.", "short",
              each(RELAYS.in_step("textslash_store_reconnects_total", by=EACH)), width=12),
    ]


def process() -> list:
    started = f"max by (instance) ({RELAYS.series('process_start_time_seconds')})"
    return [
        lines("Memory", "Resident memory of the relay process.", "bytes", each(RELAYS.now("process_resident_memory_bytes", by=EACH))),
        lines("CPU", "Processors that the relay process uses.", "short", each(RELAYS.rate("process_cpu_seconds_total", by=EACH))),
        lines("Runtime busy", "Seconds per second that the runtime's workers were busy, over all of them: near their number, requests wait.", "short",
              each(RELAYS.rate("textslash_runtime_busy_seconds_total", by=EACH))),
        lines("Tasks", "Tasks of the runtime. A number that only grows is a leak.", "short", each(RELAYS.now("textslash_tasks_active", by=EACH))),
        lines("Open files", "Open files and connections of the relay process.", "short", each(RELAYS.now("process_open_fds", by=EACH))),
        lines("Uptime", "Since the process started. A saw is a machine that restarts again and again.", "s",
              each(or_zero(f"time() - {started}", by=EACH))),
        lines("Versions", "Relays by the version that they run. Two at once is an upgrade that is going on, or one that stopped halfway.", "short",
              [Query(or_zero(f"count by (service_version) ({RELAYS.series('target_info')})", by="service_version"), "{{service_version}}")], width=24, stacked=True),
    ]


def dashboard() -> Dashboard:
    variables = [
        panels.variable("app", "Relay app", "The relays' app on Fly, or what the scrape configuration calls it.",
                        "label_values(textslash_runs_started_total, app)", all_value=".*"),
        panels.variable("instance", "Machine", "Relay machines. VMs are on a dashboard of their own.",
                        'label_values(textslash_runs_started_total{app=~"$app"}, instance)'),
    ]
    return panels.dashboard(
        "machines", "Machines", "Each relay machine: requests, conversations, store, process.", variables,
        [("Requests", requests()), ("Conversations", conversations()), ("Store", store()), ("Process", process())],
    )
