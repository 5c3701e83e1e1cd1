# shellcheck shell=bash
# flyctl, and what it says is there. Not to know is not the same as that there is none: whatever can't be looked at ends the script.

# tools: what this needs, and who it works as.
tools() {
    local missing=() tool
    say "looking for flyctl and a login"
    for tool in flyctl jq curl git; do
        command -v "$tool" >/dev/null || missing+=("$tool")
    done
    [ ${#missing[@]} -eq 0 ] || die "these have to be installed first: ${missing[*]} (flyctl: https://fly.io/docs/flyctl/install/)"
    fly auth whoami >/dev/null || die "nobody is logged in at Fly: run flyctl auth login"
}

# It never asks anything: all that it would ask is said on its command line.
fly() { flyctl "$@" </dev/null; }

# act ARGUMENT...: what changes something at Fly, and needs no telling of its own.
act() { fly "$@" >/dev/null || die "flyctl $1 $2 failed. Run this again: it goes on where it was"; }

# look INTO ARGUMENT...: what flyctl answers, into the variable INTO.
look() {
    local -n into=$1
    # shellcheck disable=SC2034
    into=$(fly "${@:2}") || die "flyctl $2 $3 failed. Run this again: it goes on where it was"
}

# holds JSON FILTER [ARGUMENT...]: whether the filter is true of it.
holds() {
    local result=0
    jq -e "${@:3}" "$2" <<<"$1" >/dev/null || result=$?
    [ "$result" -le 1 ] || die "flyctl answered what this does not understand; is it the newest? (flyctl version upgrade)"
    return "$result"
}

has_app() {
    local apps
    look apps apps list --json
    # shellcheck disable=SC2016
    holds "$apps" 'any(.[]?; (.Name // .name) == $name)' --arg name "$1"
}

has_redis() {
    local listed
    look listed redis list
    grep -qE "(^|[[:space:]│|])$redis_name([[:space:]│|]|$)" <<<"$listed"
}

# addresses APP TYPES: those whose type matches, one a line.
addresses() {
    local listed
    look listed ips list --app "$1" --json
    jq -r --arg types "^($2)$" '.[]? | select(.Type | test($types)) | .Address' <<<"$listed"
}

# The machines of an app into `machines`.
look_at_machines() {
    look machines machine list --app "$1" --json
    machines=$(jq -c '[.[]? | select(.state != "destroyed" and .state != "destroying")]' <<<"$machines")
}

count() { jq length <<<"$machines"; }

# look_at_secrets INTO APP: the names of its secrets with what became of them; of an app that is not there, none.
look_at_secrets() {
    local -n secrets=$1
    # shellcheck disable=SC2034
    secrets='[]'
    ! has_app "$2" || look "$1" secrets list --app "$2" --json
}

is_set() {
    # shellcheck disable=SC2016
    holds "$1" 'any(.[]?; (.Name // .name) == $name)' --arg name "$2"
}
