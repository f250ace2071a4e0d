#!/bin/sh
# Says what a host has for serving NFS:
# look.sh KERNEL_UNIT SETTINGS EXPORTS GANESHA_UNIT CONFIGURATION UNIT_SETTINGS MANAGER PACKAGE...
# A line each: kernel-has-nfsd; units that run; `enabled` and a unit that starts at boot; files that are there; `unread` and a file that
# is newer than what its server has read of it, as after a run that was killed in between; `installed` and a package, by apt or dnf.
set -eu
kernel=$1 settings=$2 exports=$3 ganesha=$4 configuration=$5 unit_settings=$6 manager=$7
shift 7

# Seconds since 1970 at which a unit was started, in words that all versions of systemd have.
started() {
  stamp=$(TZ=UTC LC_ALL=C systemctl show --property=ActiveEnterTimestamp --value "$1")
  date --date "${stamp#* }" +%s
}

# FILE SINCE: SINCE is empty where no server runs.
look() {
  [ -e "$1" ] || return 0
  echo "$1"
  # Not the time of modification, which a backup brings along.
  [ -z "$2" ] || [ "$(stat -c %Z "$1")" -le "$2" ] || echo "unread $1"
}

! { grep -qw nfsd /proc/filesystems || modprobe --dry-run nfsd 2>/dev/null; } || echo kernel-has-nfsd

since= exported=
if systemctl is-active --quiet "$kernel"; then
  echo "$kernel"
  since=$(started "$kernel")
  # exportfs writes it.
  exported=$(stat -c %Z /var/lib/nfs/etab)
fi
look "$settings" "$since"
look "$exports" "$exported"

since=
if systemctl is-active --quiet "$ganesha"; then
  echo "$ganesha"
  since=$(started "$ganesha")
fi
look "$configuration" "$since"
look "$unit_settings" "$since"

for unit in "$kernel" "$ganesha"; do
  ! systemctl is-enabled --quiet "$unit" 2>/dev/null || echo "enabled $unit"
done
# Both fail where a package is not installed.
case $manager in
  apt) dpkg-query --show --showformat='${db:Status-Status} ${Package}\n' "$@" ;;
  dnf) rpm --query --queryformat='installed %{NAME}\n' "$@" ;;
esac 2>/dev/null | sed -n '/^installed [^ ]*$/p'
