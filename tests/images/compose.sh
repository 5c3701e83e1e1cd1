#!/usr/bin/env bash
# Puts docker-compose into target/images: only Debian's next release has the one of today, so it is taken out of that package and
# not installed. It checks a file without a Docker daemon.
set -euo pipefail
cd "$(dirname "$0")/../.."

suite=trixie
target=$PWD/target/images
[ ! -x "$target/docker-compose" ] || exit 0

apt=$target/apt
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian $suite main" >"$apt/sources.list"
options=(-qq -o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=- -o Dir::State::Lists="$apt/lists"
    -o Dir::Cache="$apt/cache" -o APT::Sandbox::User=root)
apt-get "${options[@]}" update
cd "$apt"
apt-get "${options[@]}" download "docker-compose/$suite"
dpkg-deb --extract docker-compose_*.deb extracted
mv extracted/usr/libexec/docker/cli-plugins/docker-compose "$target/"
rm -rf "$apt"
