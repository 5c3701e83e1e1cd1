# shellcheck shell=bash
# A machine for each person: the relays make it, so here is no VM, but what they need for it: an image, and the right to its app.

# How the relays' token is called at Fly.
token_name=textslash-relay
# A year. Until then: flyctl secrets unset FLY_API_TOKEN --stage, and up again.
token_hours=8760h

# The VM's image, under this clone's label. Relays that run this clone and were told of the image were deployed after it.
push_image() {
    say "building the VM's image ($label), and keeping it at Fly; the relays make new machines of it"
    look_at_machines "$relay_app"
    if run_this; then note "there already" && return; fi
    fly deploy . --config deploy/fly.vm.toml --dockerfile Dockerfile.vm --app "$vm_app" --build-only --push \
        --image-label "$label" --yes || die "the image was not built. Run this again: it goes on where it was"
}

# What the relays are told besides: no secret among it, and the image is another one each time.
told_relays() {
    printf -- '--env\n%s\n' VM_DIRECTORY=fly "VM_APP=$vm_app" "VM_REGION=$region" "VM_IMAGE=$vm_image" \
        "VM_URL=http://$vm_app.flycast" "VM_EVENTS_URL=$reports_url"
}

# What lets the relays see to the machines of this app, and to no other app. One that was made and did not get to them is of use to
# nobody.
token() {
    local token
    say "a token for the relays: for $vm_app alone, as narrow as Fly makes one that may make machines"
    if is_set "$relay_secrets" FLY_API_TOKEN; then note "there already" && return; fi
    revoke_tokens "$vm_app"
    look token tokens create deploy --app "$vm_app" --name "$token_name" --expiry "$token_hours"
    [ -n "$token" ] || die "flyctl made no token. Run this again: it goes on where it was"
    value[FLY_API_TOKEN]=$token
    import "$relay_app" FLY_API_TOKEN
    note "It is good for $token_hours."
}

# revoke_tokens APP: those of that name.
revoke_tokens() {
    local listed ids
    look listed tokens list --app "$1"
    ids=$(awk -v name="$token_name" '$2 == name { print $1 }' <<<"${listed//[│|]/ }")
    # shellcheck disable=SC2086
    if [ -n "$ids" ]; then act tokens revoke $ids; fi
}
