#!/usr/bin/env bash
# Makes the images that the Dockerfiles begin with, out of Debian's packages and this machine's own Rust and Node: no registry of
# images is asked, and no daemon is needed. They bear the names of what they stand in for, in a store of their own below
# target/images. Those that are there already stay.
set -euo pipefail
cd "$(dirname "$0")/../.."

store=$PWD/target/images
mkdir -p "$store"
cd "$store"
suite=bookworm
certificates=/etc/ssl/certs/ca-certificates.crt
mirror=http://deb.debian.org

buildah() {
    command buildah --root "$store/store" --runroot "$store/run" "$@"
}

# base NAME: the name of the image that stage of a Dockerfile begins with, whose name starts so.
base() {
    local name
    name=$(sed -n "s/^FROM \($1:[^ ]*\).*/\1/p" ../../Dockerfile.* | sort -u)
    [ "$(wc -l <<<"$name")" -eq 1 ] || { echo "the Dockerfiles do not agree on $1: $name" >&2 && exit 1; }
    echo "docker.io/library/$name"
}

# lacks IMAGE: whether it is still to be made.
lacks() {
    ! buildah inspect --type image "$1" >/dev/null 2>&1
}

# in_container COMMAND...: run it as a build would.
in_container() {
    buildah run --isolation chroot --network host "$container" -- "$@"
}

# certify: let the container trust whom this machine trusts, which may be behind a proxy of its own.
certify() {
    buildah copy --quiet "$container" "$certificates" "$certificates" >/dev/null
}

# put IMAGE: keep the container as this image.
put() {
    buildah commit --quiet --rm "$container" "$1" >/dev/null
    echo "made $1" >&2
}

# Without recommended packages and documentation, as Debian's slim image.
debian() {
    mmdebstrap --quiet --variant=minbase --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' "$suite" rootfs.tar \
        "deb $mirror/debian $suite main" "deb $mirror/debian $suite-updates main" \
        "deb $mirror/debian-security $suite-security main"
    container=$(buildah from scratch)
    buildah add --quiet "$container" rootfs.tar / >/dev/null
    buildah config --cmd bash --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
    rm rootfs.tar
    put "$1"
}

# What Rust's slim image has: a C compiler, certificates, and a toolchain below /usr/local.
rust() {
    local toolchain
    toolchain=$(rustc --print sysroot)
    container=$(buildah from --pull-never "$debian")
    in_container sh -c 'apt-get update -qq && apt-get install -y -qq --no-install-recommends gcc libc6-dev ca-certificates >/dev/null'
    certify
    tar --create --directory "$toolchain" --exclude=./lib/rustlib/src --exclude=./share . --file toolchain.tar
    buildah add --quiet "$container" toolchain.tar /usr/local/cargo >/dev/null
    rm toolchain.tar
    buildah config --env CARGO_HOME=/usr/local/cargo --env PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        "$container"
    put "$1"
}

# What Node's slim image has: node and npm below /usr/local.
node() {
    local npm
    npm=$(npm root --global)/npm
    container=$(buildah from --pull-never "$debian")
    buildah copy --quiet "$container" "$(readlink -f "$(type -P node)")" /usr/local/bin/node >/dev/null
    buildah copy --quiet "$container" "$npm" /usr/local/lib/node_modules/npm >/dev/null
    certify
    buildah config --env NODE_EXTRA_CA_CERTS="$certificates" "$container"
    in_container ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm
    in_container npm --version >/dev/null
    put "$1"
}

debian=$(base debian)
for name in debian rust node; do
    image=$(base "$name")
    if lacks "$image"; then "$name" "$image"; fi
done
