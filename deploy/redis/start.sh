#!/bin/sh
# Starts Redis as the relays want it. The access rules get the hashes of the passwords in RELAY_PASSWORD and VM_PASSWORD, which must
# have no white space, quotes or control characters. Further arguments go to redis-server and win.
set -eu
rules=$(dirname "$0")/users.acl
filled=${ACL_FILE:-/tmp/users.acl}

hash() {
    printf %s "$1" | sha256sum | cut -d ' ' -f 1
}

umask 077
sed -e "s/RELAY_PASSWORD_SHA256/$(hash "$RELAY_PASSWORD")/" -e "s/VM_PASSWORD_SHA256/$(hash "$VM_PASSWORD")/" "$rules" >"$filled"
unset RELAY_PASSWORD VM_PASSWORD
exec redis-server --aclfile "$filled" --save "" --appendonly yes --appendfsync everysec --maxmemory-policy noeviction \
    --notify-keyspace-events Ex "$@"
