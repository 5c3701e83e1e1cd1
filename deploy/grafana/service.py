"""What people get: for whoever looks first."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

import panels
from panels import Query, Scope, lines, number, or_zero, ratio

RELAYS = Scope('app=~"$app"')
# Counted against us: the message was not taken in. What strangers send, or what is malformed, is not our failure.
LOST = 'result=~"full|unavailable"'
OURS = 'result=~"accepted|repeated|full|unavailable"'
OBJECTIVE = 0.999


def failing(over: str) -> str:
    """The share of webhooks that were not taken in, as a multiple of what the objective allows."""
    count = lambda where: f"sum(increase({RELAYS.series('textslash_webhooks_total', where)}[{over}]))"
    return or_zero(f"{ratio(count(LOST), count(OURS))} / {1 - OBJECTIVE:.3g}")


def succeeded() -> str:
    lost, ours = (RELAYS.total("textslash_webhooks_total", where) for where in (LOST, OURS))
    return f"1 - {ratio(lost, ours)}"


def per_task(what: str) -> str:
    runs = RELAYS.total("textslash_runs_started_total")
    return f"({what}) / clamp_min({runs}, 1)"


def quantiles(metric: str, where: str = "") -> list[Query]:
    return [Query(RELAYS.quantile(share, metric, where), f"p{share * 100:g}") for share in (0.5, 0.95, 0.99)]


def shared(metric: str, where: str = "", by: str = "") -> str:
    return RELAYS.now(metric, where, by, how="max")


def overview() -> list:
    good, bad = [("red", None), ("orange", OBJECTIVE), ("green", 0.9999)], [("green", None), ("red", 1)]
    return [
        number("Relays", "Relay machines that are scraped now. Fewer than two can't lose one without people noticing.", "short",
               [Query(or_zero(f"count({RELAYS.series('textslash_runs_started_total')})"), "relays")],
               decimals=0, steps=[("red", None), ("orange", 1), ("green", 2)]),
        number("Webhooks taken in", f"Share of genuine messages and receipts that were stored before they were acknowledged, over the time range. The objective is {OBJECTIVE:.1%}.",
               "percentunit", [Query(succeeded(), "taken in")], decimals=3, steps=good),
        number("Answer, p95", "From a person's message to the first chat message in answer that the channel took: 95 of 100 are faster. 0 when nobody wrote.",
               "s", [Query(RELAYS.quantile(0.95, "textslash_answer_duration_seconds"), "p95")], decimals=2,
               steps=[("green", None), ("orange", 5), ("red", 15)]),
        number("Oldest waiting now", "How long the oldest conversation with work that nobody has taken has waited.", "s",
               [Query(shared("textslash_service_oldest_due_seconds"), "oldest")], decimals=0,
               steps=[("green", None), ("orange", 15), ("red", 60)]),
        number("Waiting for approval", "Diffs that wait for a person's answer now.", "short",
               [Query(shared("textslash_service_phase", 'phase="awaiting_approval"'), "pending")], decimals=0),
        number("Dead letters now", "What was given up and not put back yet. `relay admin dead-letters` shows them.", "short",
               [Query(shared("textslash_service_dead_letters"), "dead letters")], decimals=0, steps=bad),
    ]


def webhooks() -> list:
    return [
        lines("Webhooks, by result", "Messages and receipts of chat services, per second. `full` and `unavailable` were not taken in: the service sends them again or gives up.",
              "reqps", [Query(RELAYS.rate("textslash_webhooks_total", by="result"), "{{result}}")], stacked=True),
        lines("Webhook errors against the objective", f"Webhooks that were not taken in, as a multiple of what the objective of {OBJECTIVE:.1%} allows. At 1, the budget of a month lasts a month.",
              "short", [Query(failing(over), over) for over in ("5m", "1h", "6h")], limit=1),
        lines("Webhook duration", "Time to answer a chat service. Twilio gives up after 15 s.", "s",
              quantiles("http_server_request_duration_seconds", 'http_route=~"/webhook.*"')),
    ]


def messages() -> list:
    return [
        lines("Message age, end to end", "From a person's message to the first chat message in answer that the channel took. 0 when nobody wrote.", "s",
              quantiles("textslash_answer_duration_seconds")),
        lines("Queue depth", "Conversations with work that nobody has taken yet, as the store tells it.", "short",
              [Query(shared("textslash_service_due"), "waiting"), Query(RELAYS.now("textslash_turns_active"), "being worked on")]),
        lines("Oldest waiting", "How long the oldest conversation with work that nobody has taken has waited. A lease that a dead relay held shows here for some seconds.",
              "s", [Query(shared("textslash_service_oldest_due_seconds"), "oldest")], limit=60),
    ]


def work() -> list:
    return [
        lines("Conversations, by phase", "What is going on, as the store tells it. Idle ones are left out.", "short",
              [Query(shared("textslash_service_phase", by="phase"), "{{phase}}")], stacked=True),
        lines("Longest in a phase", "How long the oldest conversation is in it. Starting, deciding and cancelling should be short; awaiting approval ends by parking.",
              "s", [Query(shared("textslash_service_phase_oldest_seconds", by="phase"), "{{phase}}")]),
        lines("Runs started", "Runs asked of VMs, per interval.", "short",
              [Query(RELAYS.in_step("textslash_runs_started_total"), "runs")]),
        lines("Approvals waiting", "Diffs that wait for an answer.", "short",
              [Query(shared("textslash_service_phase", 'phase="awaiting_approval"'), "pending")]),
        lines("What became of work", "Approved, rejected or cancelled by a person; parked because nobody answered in time. Per interval.", "short",
              [Query(RELAYS.in_step("textslash_decisions_total", by="decision"), "{{decision}}")], stacked=True),
        lines("Wake-ups and their time", "From the first call that a sleeping VM did not answer to the run's start. 0 when none slept.", "s",
              [Query(RELAYS.quantile(0.5, "textslash_wake_duration_seconds"), "p50"),
               Query(RELAYS.quantile(0.95, "textslash_wake_duration_seconds"), "p95")]),
    ]


def sends() -> list:
    return [
        lines("Chat messages, by outcome", "Taken by a channel, in doubt and found to be sent, in doubt and sent again, not taken. Per second.", "reqps",
              [Query(RELAYS.rate("textslash_chat_messages_total", by="result"), "{{result}}")], stacked=True),
        lines("In doubt, and duplicates", "Messages of which nobody knew whether they were sent: found at the provider, or sent again (a person may have got those twice). Webhooks that came again count as duplicates that were dropped. Per interval.",
              "short",
              [Query(RELAYS.in_step("textslash_chat_messages_total", 'result="found"'), "in doubt, found"),
               Query(RELAYS.in_step("textslash_chat_messages_total", 'result="resent"'), "in doubt, sent again"),
               Query(RELAYS.in_step("textslash_webhooks_total", 'result="repeated"'), "webhook repeated"),
               Query(RELAYS.in_step("textslash_messages_caught_up_total"), "missed, caught up")]),
        lines("Dead letters", "What was given up and not redriven, and what is given up per interval.", "short",
              [Query(shared("textslash_service_dead_letters"), "there now"),
               Query(RELAYS.in_step("textslash_dead_letters_total"), "given up")]),
    ]


def cost() -> list:
    sent = RELAYS.total("textslash_chat_messages_total", 'result=~"sent|found|resent"')
    return [
        number("Runs", "Runs asked of VMs in the time range.", "short",
               [Query(RELAYS.total("textslash_runs_started_total"), "runs")], decimals=0),
        number("Chat messages", "Chat messages that a channel took in the time range: each may cost money.", "short",
               [Query(sent, "messages")], decimals=0),
        number("Chat messages per run", "In the time range, over all that people wrote.", "short",
               [Query(per_task(sent), "messages per run")], decimals=1),
        number("Redis commands", "Commands of the store in the time range, as a hosted Redis bills them.", "short",
               [Query(RELAYS.total("textslash_store_commands_total"), "commands")], decimals=0),
        number("Redis commands per run", "In the time range, what idle relays ask included.", "short",
               [Query(per_task(RELAYS.total("textslash_store_commands_total")), "commands per run")], decimals=0),
        number("Conversations", "Conversations known.", "short",
               [Query(shared("textslash_service_conversations"), "conversations")], decimals=0),
    ]


def dashboard() -> Dashboard:
    app = panels.variable("app", "Relay app", "The relays' app on Fly, or what the scrape configuration calls it.",
                          "label_values(textslash_runs_started_total, app)", all_value=".*")
    return panels.dashboard(
        "service", "Service", "What people get, over all relays: is it up, is it quick, does anything wait, what does it cost.", [app],
        [("At a glance", overview()), ("Coming in", webhooks()), ("From message to answer", messages()), ("Work", work()),
         ("Going out", sends()), ("What it costs", cost())],
    )
