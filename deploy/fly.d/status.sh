# shellcheck shell=bash
# `status`: looks, and changes nothing.

status() {
    tools
    names shared
    local of_relay=(VM_URL) of_vm=(VM_SECRET EVENTS_URL)
    if [ "$vms" = each ]; then of_relay=(FLY_API_TOKEN) of_vm=(); fi
    app_status "$relay_app" RELAY_SECRET VM_SECRET STATE_STORE PUBLIC_URL "${of_relay[@]}" "${twilio_names[@]}"
    ready
    app_status "$vm_app" "${of_vm[@]}" AGENT_DRIVER
    say "Redis $redis_name"
    if has_redis; then note "there"; else note "✗ missing: deploy/fly.sh up"; fi
}

# app_status APP SECRET...: its machines with their checks, and which of these secrets are missing.
app_status() {
    local present name missing=()
    say "app $1"
    if ! has_app "$1"; then note "✗ missing: deploy/fly.sh up" && return; fi
    look_at_machines "$1"
    jq -r '.[] | "   \(.id)  \(.region)  \(.state)  \(.image_ref.tag)  checks: \([.checks[]?.status] | unique | join(", "))"' <<<"$machines"
    [ "$(count)" -gt 0 ] || is_peoples "$1" || note "✗ no machine: deploy/fly.sh up"
    look_at_secrets present "$1"
    for name in "${@:2}"; do is_set "$present" "$name" || missing+=("$name"); done
    [ ${#missing[@]} -eq 0 ] || note "✗ secrets that are missing: ${missing[*]}"
    is_peoples "$1" || ! holds "$present" 'any(.[]?; .status == "Staged" or .status == "Partial")' || note "✗ has secrets that its machines do not know yet"
}

# Whether the relays make this app's machines, and nobody here does.
is_peoples() { [ "$vms" = each ] && [ "$1" = "$vm_app" ]; }

# What a relay says of its store and of the way to Twilio. The VM has no public address: its checks above are Fly's own look at it.
ready() {
    local told
    say "$public_url/ready"
    told=$(curl --silent --show-error --max-time 10 "$public_url/ready" 2>&1) || true
    note "${told:-✗ no answer}"
}
