# shellcheck shell=bash
# What things are called at Fly. No secret among them, so they are kept in a file beside the script, which git ignores.

names_file=$here/.fly.env

# names [VMS]: asked for once. The environment goes before the file. With VMS, nobody is asked whose the VMs are.
names() {
    local name kept
    for name in TEXTSLASH_APP TEXTSLASH_REGION TEXTSLASH_ORG TEXTSLASH_RELAYS TEXTSLASH_VMS; do
        if [ -n "${!name-}" ] || ! [ -f "$names_file" ]; then continue; fi
        kept=$(sed -n "s/^$name=//p" "$names_file")
        printf -v "$name" %s "$kept"
    done
    relays=${TEXTSLASH_RELAYS:-2}
    [[ $relays =~ ^[1-9][0-9]?$ ]] || faults+=("TEXTSLASH_RELAYS is not a number from 1 to 99")
    ask TEXTSLASH_APP
    ask TEXTSLASH_REGION iad
    ask TEXTSLASH_ORG personal
    TEXTSLASH_VMS=${TEXTSLASH_VMS:-${1-}}
    ask TEXTSLASH_VMS shared
    end_with_faults
    relay_app=${value[TEXTSLASH_APP]} region=${value[TEXTSLASH_REGION]} org=${value[TEXTSLASH_ORG]}
    vms=${value[TEXTSLASH_VMS]}
    # Each kind has an app of its own: secrets are an app's, and a machine for one person must not have those of the shared one.
    if [ "$vms" = each ]; then vm_app=$relay_app-vms other_app=$relay_app-vm; else vm_app=$relay_app-vm other_app=$relay_app-vms; fi
    redis_name=$relay_app-redis
    # A private address, in clear text at a port of its own; see deploy/fly.relay.toml.
    reports_url=http://$relay_app.flycast:3001
    public_url=https://$relay_app.fly.dev
}

remember() {
    printf 'TEXTSLASH_%s\n' "APP=$relay_app" "REGION=$region" "ORG=$org" "RELAYS=$relays" "VMS=$vms" >"$names_file"
}

forget_names() { rm -f "$names_file"; }
