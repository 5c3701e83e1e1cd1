# shellcheck shell=bash
# The steps of `up`, `scale` and `down`. Each looks first, and does nothing where nothing is to be done.

app() {
    say "app $1: $2"
    if has_app "$1"; then note "there already" && return; fi
    fly apps create "$1" --org "$org" >/dev/null || die "$1 was not made. Is the name taken? Names are unique at Fly: set another TEXTSLASH_APP"
}

private_address() {
    say "a private address for $1: $2"
    local there
    there=$(addresses "$1" private_v6)
    if [ -n "$there" ]; then note "there already" && return; fi
    act ips allocate-v6 --private --app "$1"
}

# Somebody may have deployed by hand.
no_public_address() {
    local address public
    public=$(addresses "$1" 'v4|shared_v4|v6')
    for address in $public; do
        say "taking the public address $address from $1, which must have none"
        act ips release "$address" --app "$1"
    done
}

# public_address APP TYPE WHY COMMAND...: asked for one by one, because a first deploy would ask, for a port besides 80 and 443.
public_address() {
    local there
    say "a public address ($2) for $1: $3"
    there=$(addresses "$1" "$2")
    if [ -n "$there" ]; then note "there already" && return; fi
    act ips "${@:4}" --app "$1"
}

# The VM's volumes into `volumes`. Where the only ones are elsewhere, nothing is made beside them: a machine has its volume in its
# own region, and would get an empty one.
look_at_volumes() {
    local id there
    look volumes volumes list --app "$vm_app" --json
    volumes=$(jq -c '[.[]? | select(.name == "data" and (.state | test("destroy|fork_cleanup|waiting_for_detach") | not))]' <<<"$volumes") ||
        die "flyctl answered what this does not understand; is it the newest?"
    # shellcheck disable=SC2016
    if ! holds "$volumes" 'length > 0 and all(.[]; .region != $region)' --arg region "$region"; then return; fi
    read -r id there < <(jq -r '.[0] | "\(.id) \(.region)"' <<<"$volumes")
    die "the volume of $vm_app is in $there, and TEXTSLASH_REGION is $region. Run this again with TEXTSLASH_REGION=$there; or," \
        "if nothing that is on the volume is wanted, after flyctl volumes destroy $id --app $vm_app"
}

volume() {
    say "a volume for $vm_app: repositories, sessions and the journal outlive the machine"
    if holds "$volumes" 'length > 0'; then note "there already" && return; fi
    act volumes create data --app "$vm_app" --region "$region" --size 10 --yes
}

redis() {
    say "Redis $redis_name: what the relays share; nothing is ever thrown out of it to make room"
    if has_redis; then note "there already" && return; fi
    fly redis create --name "$redis_name" --org "$org" --region "$region" --no-replicas --disable-eviction \
        --enable-prodpack=false 2>&1 | masked || no_redis
    note "The relays turn keyspace notifications on by themselves; the check at the end says whether they could."
}

# Nothing that belongs to a region is made before Redis is, so that another one may still be chosen.
no_redis() {
    note "Not every region of Fly has Redis. If $region was refused, choose another: TEXTSLASH_REGION=iad deploy/fly.sh up"
    die "flyctl redis create failed. If it was for another reason, run this again: it goes on where it was"
}

# What this clone is: a commit, and a hash of what was changed since.
this_clone() {
    local commit changes
    # Without git nobody can tell whether something changed: each deploy is a new one.
    commit=$(git rev-parse --short=12 HEAD 2>/dev/null) || { date +at-%s && return; }
    changes=$(git diff HEAD | git hash-object --stdin | cut -c 1-12)
    if git diff --quiet HEAD; then echo "$commit"; else echo "$commit-$changes"; fi
}

# Whether all of `machines` run what this clone is, and know of the same image for people's machines. One that failed at its checks
# left the label.
run_this() {
    # shellcheck disable=SC2016
    holds "$machines" 'length > 0 and all(.[]; .image_ref.tag == $tag and (.config.env.VM_IMAGE // "") == $image
        and (.state != "started" or all(.checks[]?; .status != "critical")))' --arg tag "$label" --arg image "$vm_image"
}

# deploy APP WHICH WHY OPTION...: unless all its machines run what this clone is.
deploy() {
    say "deploying $1 ($label), $3"
    look_at_machines "$1"
    if run_this; then
        note "runs already"
        use_staged "$1"
        return
    fi
    fly deploy . --config "deploy/fly.$2.toml" --dockerfile "Dockerfile.$2" --app "$1" --primary-region "$region" \
        --image-label "$label" --yes "${@:4}" || die "$1 was not deployed. See flyctl logs --app $1, and run this again"
}

# More than there are, never fewer: how many may have been chosen elsewhere.
at_least() {
    look_at_machines "$relay_app"
    [ "$(count)" -ge "$1" ] || exactly "$1"
}

exactly() {
    say "$1 relays: when one is gone the others go on with its work"
    look_at_machines "$relay_app"
    if [ "$(count)" -eq "$1" ]; then note "there already" && return; fi
    act scale count "$1" --app "$relay_app" --region "$region" --yes
}

# VMs of the kind that is not used any more: what is on their volumes is people's. No relay sees to people's machines then.
other_kind() {
    if ! has_app "$other_app"; then return; fi
    if [ "$vms" = shared ]; then revoke_tokens "$other_app"; fi
    note "$other_app is there too, and no relay calls it. Parked work may be on its volumes, which cost what they cost."
    note "Switch back with TEXTSLASH_VMS, or take it away for good: flyctl apps destroy $other_app"
}

# What the relay itself finds when it looks at its store.
check() {
    say "relay admin check, in a relay"
    fly ssh console --app "$relay_app" --command "/usr/local/bin/relay admin check" ||
        die "the check did not pass. What is marked ✗ says how to mend it; then: deploy/fly.sh up"
}

destroy_app() {
    say "app $1: $2"
    if ! has_app "$1"; then note "not there" && return; fi
    act apps destroy "$1" --yes
}

destroy_redis() {
    say "Redis $redis_name: conversations and messages"
    if ! has_redis; then note "not there" && return; fi
    act redis destroy "$redis_name" --yes
}
