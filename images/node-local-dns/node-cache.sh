#!/bin/sh
# Takes the arguments of Kubernetes' node-cache that the role gives: -localip ADDRESS,ADDRESS and, for the sake of that one,
# -conf and -upstreamsvc. Gives this node these addresses, lets packets for port 53 of them by connection tracking and kube-proxy,
# and runs CoreDNS. When it ends, it takes all that back, so that pods reach the cluster's DNS as before.
set -eu
device=nodelocaldns
addresses=
while [ $# -gt 1 ]; do
  [ "$1" != -localip ] || addresses=$(echo "$2" | tr , ' ')
  shift 2
done

# rule -A|-D TABLE CHAIN WORDS: one that is there is not added, one that is not there is not deleted.
rule() {
  action=$1 table=$2 chain=$3
  shift 3
  if iptables --wait --table "$table" --check "$chain" "$@" 2>/dev/null; then
    [ "$action" = -A ] || iptables --wait --table "$table" --delete "$chain" "$@"
  else
    # Before kube-proxy's own.
    [ "$action" = -D ] || iptables --wait --table "$table" --insert "$chain" "$@"
  fi
}

rules() {
  for address in $addresses; do
    for protocol in udp tcp; do
      to="--destination $address --protocol $protocol --dport 53" from="--source $address --protocol $protocol --sport 53"
      # These are lists of words.
      rule "$1" raw PREROUTING $to --jump CT --notrack
      rule "$1" raw OUTPUT $to --jump CT --notrack
      rule "$1" raw OUTPUT $from --jump CT --notrack
      rule "$1" filter INPUT $to --jump ACCEPT
      rule "$1" filter OUTPUT $from --jump ACCEPT
    done
  done
}

take_back() {
  rules -D
  ip link delete "$device" 2>/dev/null || :
}

# A bridge without ports holds addresses as well as a dummy device, which not every kernel has.
ip link show "$device" >/dev/null 2>&1 || ip link add "$device" type bridge
for address in $addresses; do
  ip address replace "$address/32" dev "$device"
done
ip link set "$device" up
rules -A

coredns -conf /etc/coredns/Corefile.base &
server=$!
trap 'take_back; kill "$server"' TERM INT
status=0
wait "$server" || status=$?
take_back
exit "$status"
