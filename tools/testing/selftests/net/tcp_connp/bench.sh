#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# ptcpbench with every byte verified, over loopback and over a veth pair between
# two namespaces, in the ways that packets can reach a group: softirq, threaded
# NAPI, and a reader that polls the device itself.
set -eu
. "$(dirname "$0")/lib.sh"

busy=

undo()
{
	if [ -n "$busy" ]; then
		echo 0 >/proc/sys/net/core/busy_read
		echo 0 >/proc/sys/net/core/busy_poll
	fi
}

namespaces ethtool
echo "TAP version 13"
echo "1..7"

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
