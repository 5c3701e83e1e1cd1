# shellcheck shell=bash
# Secrets: made here or asked for, handed to flyctl through its standard input, and kept at Fly alone. Nothing reads them back.

vm_names=(ANTHROPIC_API_KEY GITHUB_TOKEN)
twilio_names=(TWILIO_ACCOUNT_SID TWILIO_AUTH_TOKEN TWILIO_FROM ALLOWED_PHONE_NUMBERS)
# Set with `secrets NAME` alone.
rare_names=(TWILIO_API_KEY TWILIO_API_SECRET TWILIO_APPROVAL_CONTENT_SID TWILIO_INQUIRY_CONTENT_SIDS CONSOLE_TOKEN ADMIN_TOKEN LINK_KEYS)

look_around() {
    say "looking at what is there"
    look_at_secrets relay_secrets "$relay_app"
    look_at_secrets vm_secrets "$vm_app"
}

# All questions come before anything is made.
ask_for_missing() {
    local name
    for name in "${twilio_names[@]}"; do
        is_set "$relay_secrets" "$name" || ask "$name"
    done
    if ! is_set "$vm_secrets" AGENT_DRIVER; then
        for name in "${vm_names[@]}"; do ask "$name" ""; done
    fi
    end_with_faults
}

# 32 bytes from the system, in hexadecimal.
new_secret() { od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n'; }

# import APP NAME...: of value[], to be used by the next deploy.
import() {
    local app=$1 name
    shift
    for name in "$@"; do printf '%s=%s\n' "$name" "${value[$name]}"; done |
        flyctl secrets import --stage --app "$app" >/dev/null || die "flyctl secrets import failed. Run this again: it goes on where it was"
    note "$app has: $*"
}

# put APP PRESENT NAME...: those that the app does not have.
put() {
    local app=$1 present=$2 name missing=()
    shift 2
    for name in "$@"; do
        [ -z "${value[$name]-}" ] || is_set "$present" "$name" || missing+=("$name")
    done
    if [ ${#missing[@]} -eq 0 ]; then note "$app has its secrets"; else import "$app" "${missing[@]}"; fi
}

set_secrets() {
    say "secrets, read by flyctl from its standard input: in no command line, no file and no output"
    value[RELAY_SECRET]=$(new_secret)
    # shellcheck disable=SC2153
    value[PUBLIC_URL]=$public_url
    value[VM_URL]=http://$vm_app.flycast
    value[EVENTS_URL]=$reports_url
    value[AGENT_DRIVER]=claude
    if [ -z "${value[ANTHROPIC_API_KEY]-}" ]; then value[AGENT_DRIVER]=demo; fi
    is_set "$relay_secrets" STATE_STORE || redis_url
    if [ "$vms" = each ]; then
        # The relays give each machine what it signs with and where it reports to; a secret of its app would win over that.
        value[VM_SECRET]=$(new_secret)
        put "$vm_app" "$vm_secrets" AGENT_DRIVER "${vm_names[@]}"
        put "$relay_app" "$relay_secrets" RELAY_SECRET VM_SECRET STATE_STORE PUBLIC_URL "${twilio_names[@]}"
        drop VM_URL
    else
        set_shared_secrets
        drop FLY_API_TOKEN
    fi
    [ "${value[AGENT_DRIVER]}" = claude ] || is_set "$vm_secrets" AGENT_DRIVER ||
        note "Without an Anthropic key the demo agent answers. Later: deploy/fly.sh secrets ANTHROPIC_API_KEY"
}

# drop NAME: a secret of the relays that is for the other kind of VMs.
drop() {
    if ! is_set "$relay_secrets" "$1"; then return; fi
    act secrets unset "$1" --stage --app "$relay_app"
    note "$relay_app has no $1 any more"
}

set_shared_secrets() {
    # Both apps must have the same one, and none can be read back: unless both have one, both get a new one. Whichever has one
    # gets it first, so that, cut off in between, one of them still has none.
    if is_set "$relay_secrets" VM_SECRET && is_set "$vm_secrets" VM_SECRET; then
        put_vm
        put_relay
    elif is_set "$relay_secrets" VM_SECRET; then
        new_vm_secret
        note "A new VM_SECRET: machines of people, if there are any in $other_app, do not know it. Destroy those machines and"
        note "leave their volumes: the relays make them again."
        put_relay
        put_vm
    else
        new_vm_secret
        put_vm
        put_relay
    fi
}

# Present ones are told apart by name; this one is to be taken for missing.
new_vm_secret() {
    value[VM_SECRET]=$(new_secret)
    relay_secrets=$(without_vm_secret <<<"$relay_secrets")
    vm_secrets=$(without_vm_secret <<<"$vm_secrets")
}

without_vm_secret() { jq -c '[.[]? | select((.Name // .name) != "VM_SECRET")]'; }
put_vm() { put "$vm_app" "$vm_secrets" VM_SECRET EVENTS_URL AGENT_DRIVER "${vm_names[@]}"; }
put_relay() { put "$relay_app" "$relay_secrets" RELAY_SECRET VM_SECRET STATE_STORE PUBLIC_URL VM_URL "${twilio_names[@]}"; }

# The address of Redis holds its password; flyctl tells it to whoever owns it.
redis_url() {
    local told
    look told redis status "$redis_name"
    value[STATE_STORE]=$(grep -oE 'rediss?://[^[:space:]]+' <<<"$told" | head -n 1) ||
        die "flyctl does not tell the address of $redis_name; set STATE_STORE with flyctl secrets import --stage --app $relay_app"
}

# replace_secrets [NAME...]: `secrets`.
replace_secrets() {
    local name for_relay=() for_vm=() asked=("$@")
    [ $# -gt 0 ] || asked=("${twilio_names[@]}" "${vm_names[@]}")
    for name in "${asked[@]}"; do
        [[ " ${twilio_names[*]} ${vm_names[*]} ${rare_names[*]} " == *" $name "* ]] || die_usage "secrets does not know $name"
    done
    tools
    names shared
    say "new values, and nothing for what is to stay as it is"
    for name in "${asked[@]}"; do
        ask "$name" ""
        if [ -z "${value[$name]-}" ]; then continue; fi
        if [[ " ${vm_names[*]} " == *" $name "* ]]; then for_vm+=("$name"); else for_relay+=("$name"); fi
    done
    end_with_faults
    if [ -n "${value[ANTHROPIC_API_KEY]-}" ]; then
        value[AGENT_DRIVER]=claude
        for_vm+=(AGENT_DRIVER)
    fi
    [ ${#for_relay[@]} -eq 0 ] || import "$relay_app" "${for_relay[@]}"
    [ ${#for_vm[@]} -eq 0 ] || import "$vm_app" "${for_vm[@]}"
    use_staged "$relay_app"
    if [ "$vms" = shared ]; then use_staged "$vm_app"; fi
    [ "$vms" = shared ] || [ ${#for_vm[@]} -eq 0 ] ||
        note "New machines have them. One that is there already is given them by: flyctl machine update MACHINE --app $vm_app"
}

# use_staged APP: restart the machines of an app that has secrets which they do not know yet.
use_staged() {
    local present
    look_at_secrets present "$1"
    if ! holds "$present" 'any(.[]?; .status == "Staged" or .status == "Partial")'; then return; fi
    look_at_machines "$1"
    [ "$(count)" -gt 0 ] || return 0
    say "restarting $1, one machine after the other, because it has new secrets"
    act secrets deploy --app "$1"
}
