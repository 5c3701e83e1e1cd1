# shellcheck shell=bash
# `status`: looks, and changes nothing.

status() {
    tools
    names
    app_status "$relay_app" RELAY_SECRET VM_SECRET STATE_STORE PUBLIC_URL VM_URL "${twilio_names[@]}"
    ready
    app_status "$vm_app" VM_SECRET EVENTS_URL AGENT_DRIVER
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
    [ "$(count)" -gt 0 ] || note "✗ no machine: deploy/fly.sh up"
    look_at_secrets present "$1"
    for name in "${@:2}"; do is_set "$present" "$name" || missing+=("$name"); done
    [ ${#missing[@]} -eq 0 ] || note "✗ secrets that are missing: ${missing[*]}"
    ! holds "$present" 'any(.[]?; .status == "Staged" or .status == "Partial")' || note "✗ has secrets that its machines do not know yet"
}

# What a relay says of its store and of the way to Twilio. The VM has no public address: its checks above are Fly's own look at it.
ready() {
    local told
    say "$public_url/ready"
    told=$(curl --silent --show-error --max-time 10 "$public_url/ready" 2>&1) || true
    note "${told:-✗ no answer}"
}
