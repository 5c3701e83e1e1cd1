# shellcheck shell=bash
# What things are called at Fly. No secret among them, so they are kept in a file beside the script, which git ignores.

names_file=$here/.fly.env

# names: asked for once. The environment goes before the file.
names() {
    local name kept
    for name in TEXTSLASH_APP TEXTSLASH_REGION TEXTSLASH_ORG TEXTSLASH_RELAYS; do
        if [ -n "${!name-}" ] || ! [ -f "$names_file" ]; then continue; fi
        kept=$(sed -n "s/^$name=//p" "$names_file")
        printf -v "$name" %s "$kept"
    done
    relays=${TEXTSLASH_RELAYS:-2}
    [[ $relays =~ ^[1-9][0-9]?$ ]] || faults+=("TEXTSLASH_RELAYS is not a number from 1 to 99")
    ask TEXTSLASH_APP
    ask TEXTSLASH_REGION iad
    ask TEXTSLASH_ORG personal
    end_with_faults
    relay_app=${value[TEXTSLASH_APP]} region=${value[TEXTSLASH_REGION]} org=${value[TEXTSLASH_ORG]}
    vm_app=$relay_app-vm
    redis_name=$relay_app-redis
    public_url=https://$relay_app.fly.dev
}

remember() {
    printf 'TEXTSLASH_%s\n' "APP=$relay_app" "REGION=$region" "ORG=$org" "RELAYS=$relays" >"$names_file"
}

forget_names() { rm -f "$names_file"; }
