#!/bin/sh
# Proves an export from a client: nfs_probe.sh HOW ADDRESS PATH WANTED USER
#   HOW     mount, libnfs, or auto: mount where the kernel has a client
#   WANTED  write: a file of USER, a number, is written and read back; read: the directory is listed; refused: neither is possible;
#           kept-out: a firewall lets nobody ask, or the same
# Says in one line what it saw. The file, .mlstack-verify, is left for the server to delete: libnfs-utils has nothing for that.
set -eu
how=$1 address=$2 path=$3 wanted=$4 user=$5
host=$(hostname)
if [ "$how" = auto ]; then
  if grep -qw nfs4 /proc/filesystems || modprobe --dry-run nfs 2>/dev/null; then how=mount; else how=libnfs; fi
fi
work=$(mktemp -d)
mounted=
file=.mlstack-verify
url="nfs://$address$path"
options="version=4&uid=$user&gid=$user"

leave() {
  [ -z "$mounted" ] || umount "$work/mount"
  rm -rf "$work"
}
trap leave EXIT

as_user() { setpriv --reuid="$user" --regid="$user" --clear-groups "$@"; }

fail() {
  echo "$host: $1" >&2
  exit 1
}

case $how in
  mount)
    command -v mount.nfs >/dev/null || fail "there is no mount.nfs; install the package nfs-common (nfs-utils)"
    mkdir "$work/mount"
    chmod 755 "$work"
    reach() {
      timeout 30 mount -t nfs -o vers=4.2,soft,timeo=50,retrans=2 "$address:$path" "$work/mount" 2>"$work/said" || return 1
      mounted=yes
      as_user ls "$work/mount" >/dev/null 2>"$work/said"
    }
    put() { as_user cp "$work/sent" "$work/mount/$file" 2>"$work/said"; }
    get() { as_user cat "$work/mount/$file" >"$work/got" 2>"$work/said"; }
    ;;
  libnfs)
    command -v nfs-cp >/dev/null || fail "there is no nfs-cp; install the package libnfs-utils"
    reach() { timeout 30 nfs-ls "$url?$options" >/dev/null 2>"$work/said"; }
    put() { timeout 30 nfs-cp "$work/sent" "$url/$file?$options" >/dev/null 2>"$work/said"; }
    get() { timeout 30 nfs-cat "$url/$file?$options" >"$work/got" 2>"$work/said"; }
    ;;
  *) fail "'$how' is neither mount, libnfs nor auto" ;;
esac

said() { tr '\n' ' ' <"$work/said" | cut -c1-300; }

if [ "$wanted" = kept-out ]; then
  command -v bash >/dev/null || fail "there is no bash to knock with"
  # A kernel answers at once, however busy its server is, and has just answered the client. TCP knocks three times in these seconds.
  knocked=0
  LC_ALL=C timeout 3.5 bash -c ': <"/dev/tcp/$0/2049"' "$address" 2>"$work/said" || knocked=$?
  if [ "$knocked" -ne 0 ]; then
    [ "$knocked" -eq 124 ] || grep -qiE 'refused|No route|unreachable|timed out' "$work/said" || fail "cannot ask $address: $(said)"
    echo "$host is kept from $path by a firewall"
    exit 0
  fi
  wanted=refused
fi

if ! reach; then
  [ "$wanted" = refused ] || fail "$url cannot be reached by $how: $(said)"
  # Whoever is not answered at all has not been refused.
  grep -qiE 'ACCES|PERM|NOENT|denied|No such file' "$work/said" || fail "is not refused $url, but has another trouble: $(said)"
  echo "$host is refused $path by $how: $(said)"
  exit 0
fi
[ "$wanted" != refused ] || fail "$url can be reached by $how, and should be refused"
if [ "$wanted" = read ]; then
  echo "$host reads $path by $how"
  exit 0
fi
# Readable for the other user. As small as that because libnfs has failures with larger writes to NFS 4.
head -c 750 /dev/urandom | base64 --wrap=0 >"$work/sent"
chmod 644 "$work/sent"
put || fail "user $user cannot write below $path by $how: $(said)"
get || fail "what was written below $path cannot be read by $how: $(said)"
cmp -s "$work/sent" "$work/got" || fail "what was read from $path is not what was written"
echo "$host writes and reads $path by $how as user $user"
