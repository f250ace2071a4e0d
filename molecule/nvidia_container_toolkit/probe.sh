#!/bin/sh
# Makes an image with a shell and nothing else, which shows whether a container got a device: probe.sh FILE
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download --quiet=2 -o APT::Sandbox::User=root busybox-static
dpkg-deb --extract busybox-static*.deb files
mkdir -p root/bin
cp files/bin/busybox root/bin/busybox
ln -s busybox root/bin/sh
tar -C root -c . | podman import --quiet - localhost/probe:1
podman save --quiet --format docker-archive --output "$work/probe.tar" localhost/probe:1
mv "$work/probe.tar" "$1"
