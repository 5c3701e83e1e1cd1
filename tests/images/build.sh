#!/usr/bin/env bash
# Builds the images textslash-relay and textslash-vm into the store below target/images, from the Dockerfiles as they are, on the
# stand-ins of bases.sh. No daemon is needed; root is.
set -euo pipefail
cd "$(dirname "$0")/../.."

tests/images/bases.sh
# Where buildah keeps what a build's cache mounts hold.
export TMPDIR=$PWD/target/images/tmp
mkdir -p "$TMPDIR"
for name in relay vm; do
    echo "building the image textslash-$name" >&2
    buildah --root "$PWD/target/images/store" --runroot "$PWD/target/images/run" \
        build --isolation chroot --network host --pull-never --layers --file "Dockerfile.$name" --tag "textslash-$name" .
done
