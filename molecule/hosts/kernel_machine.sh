#!/bin/sh
# Starts a machine with a kernel of its own, Debian's User Mode Linux, which needs neither KVM nor modules of this machine's kernel:
#   kernel_machine.sh IMAGE DIRECTORY NAME ADDRESS BRIDGE
# DIRECTORY has the key as key.pub, and gets the machine's disk, log and process number.
set -eu
image=$1 directory=$2 name=$3 address=$4 bridge=$5
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
tar -xf "$image" -C "$root"
mkdir -p "$root/lib/modules" "$root/root/.ssh"
cp -a /usr/lib/uml/modules/. "$root/lib/modules/"
cp "$directory/key.pub" "$root/root/.ssh/authorized_keys"
echo "$name" >"$root/etc/hostname"
printf '127.0.0.1 localhost\n%s %s\n' "$address" "$name" >"$root/etc/hosts"
: >"$root/etc/machine-id"
cat >"$root/etc/systemd/system/address.service" <<UNIT
[Unit]
Before=ssh.service
[Service]
Type=oneshot
RemainAfterExit=true
ExecStart=ip address add $address/24 dev vec0
ExecStart=ip link set vec0 up
[Install]
WantedBy=multi-user.target
UNIT
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -s ../address.service "$root/etc/systemd/system/multi-user.target.wants/address.service"
truncate -s 2G "$directory/$name.img"
mke2fs -q -F -t ext4 -d "$root" "$directory/$name.img"
ip tuntap add dev "$name" mode tap
ip link set "$name" master "$bridge" up
# Its own MAC address, by the last number of the address.
hardware=02:00:00:00:00:$(printf %02x "${address##*.}")
TMPDIR=/dev/shm setsid linux.uml mem=512M umid="$name" ubd0="$directory/$name.img" root=/dev/ubda rw con=null con0=null,fd:1 \
  ssl=null "vec0:transport=tap,ifname=$name,depth=128,gro=1,mac=$hardware" >"$directory/$name.log" 2>&1 </dev/null &
echo $! >"$directory/$name.pid"
