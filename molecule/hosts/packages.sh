#!/bin/sh
# Makes a package repository of what the machines are to install: packages.sh IMAGE DIRECTORY PACKAGES…
# The packages, and what they depend on beyond the image's own, come from where this machine's own apt gets them.
set -eu
image=$1 directory=$2
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tar -xOf "$image" ./var/lib/dpkg/status >"$work/status"
mkdir -p "$work/partial"
apt-get update --quiet=2
apt-get install --quiet=2 --yes --download-only --no-install-recommends \
  -o Dir::State::status="$work/status" -o Dir::Cache::archives="$work" -o APT::Sandbox::User=root "$@"
mkdir "$directory.new"
mv "$work"/*.deb "$directory.new"
cd "$directory.new"
apt-ftparchive packages . >Packages
mv "$directory.new" "$directory"
