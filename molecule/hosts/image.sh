#!/bin/sh
# Makes the root file system of a test machine: image.sh FILE PACKAGES, a comma-separated list.
# The packages come from where the machine's own apt gets them; nothing of that is left in the image, so that a test
# installs nothing but what it brings.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
apt-config dump --no-empty --format '%f "%v";%n' Acquire >"$work/apt.conf"
. /etc/os-release
set -- "$1" "$2" /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list
file=$1 packages=$2
shift 2
for source; do
  shift
  [ ! -s "$source" ] || set -- "$@" "$source"
done
mmdebstrap --mode=root --variant=apt --include="$packages" --aptopt="$work/apt.conf" \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --dpkgopt='path-exclude=/usr/share/doc/*' \
  --customize-hook='rm -rf "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/* "$1"/etc/apt/apt.conf.d/99mmdebstrap \
    "$1"/etc/resolv.conf "$1"/etc/hostname "$1"/etc/machine-id' \
  --customize-hook='chroot "$1" systemctl enable ssh.service' \
  "$VERSION_CODENAME" "$file.new.tar" "$@"
mv "$file.new.tar" "$file"
