#!/usr/bin/env bash
# Textslash on Fly.io: from a clone to a number that answers. Alone, it says what it can do.
# Every step looks at what is there before it does anything, so whatever went wrong: run it again.
# The bash that macOS has is older than what this is written in: this comes before anything that an old one can't read.
if [ "$((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1]))" -lt 404 ]; then
    echo "fly.sh: this is bash $BASH_VERSION, and it needs 4.4 or newer. On macOS: brew install bash, and open a new terminal." >&2
    exit 1
fi
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/.."
# shellcheck source=deploy/fly.d/tell.sh
. "$here/fly.d/tell.sh"
# shellcheck source=deploy/fly.d/ask.sh
. "$here/fly.d/ask.sh"
# shellcheck source=deploy/fly.d/names.sh
. "$here/fly.d/names.sh"
# shellcheck source=deploy/fly.d/look.sh
. "$here/fly.d/look.sh"
# shellcheck source=deploy/fly.d/secrets.sh
. "$here/fly.d/secrets.sh"
# shellcheck source=deploy/fly.d/steps.sh
. "$here/fly.d/steps.sh"
# shellcheck source=deploy/fly.d/people.sh
. "$here/fly.d/people.sh"
# shellcheck source=deploy/fly.d/status.sh
. "$here/fly.d/status.sh"

usage() {
    cat <<'TEXT'
deploy/fly.sh up               make everything that is missing, and deploy this clone: two relays, one Redis, and one VM, or what
                               the relays need to make one for each person
deploy/fly.sh status           machines, health, Redis, and which secrets are missing
deploy/fly.sh secrets [NAME…]  set or replace what Twilio, Anthropic and GitHub gave you; without names, asks for all of them
deploy/fly.sh scale N          run N relays
deploy/fly.sh down [--yes]     destroy all of it, what people wrote included

It asks at a terminal for what it needs to know. Otherwise, set in the environment: TEXTSLASH_APP (its name at Fly),
TEXTSLASH_REGION, TEXTSLASH_ORG, TEXTSLASH_VMS (shared, or each: a machine for each person), TWILIO_ACCOUNT_SID,
TWILIO_AUTH_TOKEN, TWILIO_FROM, ALLOWED_PHONE_NUMBERS, and if you have them ANTHROPIC_API_KEY and GITHUB_TOKEN. The names are kept in deploy/.fly.env; secrets are kept at Fly alone.
TEXT
}

up() {
    tools
    names
    remember
    look_around
    ask_for_missing
    local label vm_image="" options=()
    label=$(this_clone)
    if [ "$vms" = each ]; then
        vm_image=registry.fly.io/$vm_app:$label
        mapfile -t options < <(told_relays)
    fi
    app "$vm_app" "an app of the VM's own: machine, volume and secrets"
    private_address "$vm_app" "before the first deploy, so that the VM never gets a public one"
    no_public_address "$vm_app"
    app "$relay_app" "the relays' own app"
    private_address "$relay_app" "where the VM reports to"
    public_address "$relay_app" v6 "so that Twilio reaches the relays" allocate-v6
    public_address "$relay_app" shared_v4 "the same for IPv4; shared, so that it costs nothing" allocate-v4 --shared
    if [ "$vms" = shared ]; then look_at_volumes; fi
    redis
    if [ "$vms" = shared ]; then volume; fi
    set_secrets
    if [ "$vms" = shared ]; then
        deploy "$vm_app" vm "with one machine, because a volume belongs to one" --ha=false --flycast
    else
        token
        push_image
    fi
    deploy "$relay_app" relay "one machine after the other, so that there is always one that answers" "${options[@]}"
    at_least "$relays"
    other_kind
    what_to_do_at_twilio
    check
}

scale() {
    [[ ${1-} =~ ^[1-9][0-9]?$ ]] || die_usage "scale needs how many relays there are to be, from 1 to 99"
    tools
    names shared
    relays=$1
    [ "$relays" -gt 1 ] || note "With one relay nobody answers while it is restarted. Nothing is lost: Twilio's messages are fetched afterwards."
    remember
    exactly "$relays"
}

down() {
    local yes=${1-}
    [ -z "$yes" ] || [ "$yes" = --yes ] || die_usage "down knows --yes alone"
    tools
    names shared
    say "destroying $relay_app, $vm_app and $redis_name, and $other_app if it is there"
    note "Lost for good: conversations and messages that wait, dead letters, and all that is on the VMs' volumes alone: parked"
    note "work, sessions with the agent, branches that were not pushed. What was approved is where it was pushed to."
    [ "$yes" = --yes ] || confirm "$relay_app"
    destroy_app "$relay_app" "first, so that no message is taken in that nobody would answer"
    destroy_app "$vm_app" "with its machines and their volumes"
    destroy_app "$other_app" "the other kind's, with its machines and their volumes"
    destroy_redis
    forget_names
    note "All of it is gone. Take the address out of Twilio's console as well."
}

case "${1-}" in
up) up ;;
status) status ;;
secrets) replace_secrets "${@:2}" ;;
scale) scale "${@:2}" ;;
down) down "${@:2}" ;;
"" | help | --help | -h) usage ;;
*)
    usage >&2
    exit 64
    ;;
esac
