#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# ptcpbench with every byte verified, over loopback and over a veth pair between
# two namespaces, in the ways that packets can reach a group: softirq, threaded
# NAPI, and a reader that polls the device itself.
set -eu
. "$(dirname "$0")/lib.sh"

server=connp-server-$$
client=connp-client-$$
busy=
bytes=24M
# A kernel that checks itself is many times slower: there, do less.
[ ! -e /proc/lockdep ] || bytes=3M

[ "$(id -u)" = 0 ] || skip_all "needs root, for network namespaces"
for program in ptcpbench ip ethtool; do
	command -v $program >/dev/null || skip_all "$program is not installed"
done
tmp=$(mktemp -d)

cleanup()
{
	ip netns delete "$server" 2>/dev/null || true
	ip netns delete "$client" 2>/dev/null || true
	if [ -n "$busy" ]; then
		echo 0 >/proc/sys/net/core/busy_read
		echo 0 >/proc/sys/net/core/busy_poll
	fi
	rm -r "$tmp"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

# transfer NAME ADDRESS CLIENT-NAMESPACE OPTION...: serve's options follow.
transfer()
{
	name=$1 address=$2 namespace=$3
	shift 3
	rm -f "$tmp"/*
	ip netns exec "$server" ptcpbench serve -a "$address" -c 24 \
		-b $bytes -p 0 --ready "$tmp/port" "$@" >"$tmp/serve.log" 2>&1 &
	pid=$!
	while ! [ -s "$tmp/port" ] && kill -0 $pid 2>/dev/null; do
		sleep 0.05
	done
	status=0
	if [ -s "$tmp/port" ]; then
		ip netns exec "$namespace" ptcpbench sink -a "$address" -c 24 \
			-p "$(cat "$tmp/port")" --verify >"$tmp/sink.log" \
			2>&1 || status=1
	fi
	wait $pid || status=1
	result $status "$name"
	[ $status = 0 ] || sed 's/^/# /' "$tmp"/*.log
}

echo "TAP version 13"
echo "1..7"
ip netns add "$server"
ip netns add "$client"
ip -n "$server" link set lo up
ip -n "$server" link add connp0 type veth peer name connp0 netns "$client"
ip -n "$server" addr add 192.0.2.1/24 dev connp0
ip -n "$client" addr add 192.0.2.2/24 dev connp0
ip -n "$server" addr add 2001:db8::1/64 dev connp0 nodad
ip -n "$client" addr add 2001:db8::2/64 dev connp0 nodad
ip -n "$server" link set connp0 up
ip -n "$client" link set connp0 up

transfer "loopback, IPv4" 127.0.0.1 "$server"
transfer "loopback, IPv6, write()" ::1 "$server" --write
transfer "veth, IPv4" 192.0.2.1 "$client"
transfer "veth, IPv6, write()" 2001:db8::1 "$client" --write

for namespace in "$server" "$client"; do
	# Only with GRO has a veth device NAPI.
	ip netns exec "$namespace" ethtool -K connp0 gro on tso off gso off
done
transfer "veth, IPv4, NAPI" 192.0.2.1 "$client"

name="veth, IPv4, threaded NAPI"
threaded=yes
for namespace in "$server" "$client"; do
	ip netns exec "$namespace" sh -c \
		'echo 1 >/sys/class/net/connp0/threaded' || threaded=
done
if [ -n "$threaded" ]; then
	transfer "$name" 192.0.2.1 "$client"
else
	skip "$name" "the device does not do it"
fi

name="veth, IPv4, busy polling"
if [ -e /proc/sys/net/core/busy_read ] &&
   [ "$(cat /proc/sys/net/core/busy_read)" = 0 ]; then
	busy=yes
	echo 50 >/proc/sys/net/core/busy_read
	echo 50 >/proc/sys/net/core/busy_poll
	transfer "$name" 192.0.2.1 "$client"
else
	skip "$name" "no net.core.busy_read, or in use already"
fi
[ "$failed" = 0 ]
