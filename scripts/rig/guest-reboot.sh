#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# guest-reboot.sh live|killed - the guest's side of scripts/test-reboot.sh: leave
# the guest while connections carry data over the taps, over a veth pair and over
# loopback; with all of them as they are, or right after the processes that have
# them were killed, so that they are about to close.
set -eu

way=$1
# shellcheck source=../../tools/testing/selftests/net/tcp_connp/lib.sh
. /selftests/lib.sh

connections=24

# within NAMESPACE COMMAND...: "" is the guest's own.
within()
{
	if [ -n "$1" ]; then
		ip netns exec "$@"
	else
		shift
		"$@"
	fi
}

# serve NAMESPACE ADDRESS FILE: for much longer than this guest lives; FILE has
# the port.
serve()
{
	within "$1" ptcpbench serve -a "$2" -p 0 -c $connections -d 600 -w 0 \
		--ready "$3" >/dev/null 2>&1 &
	while ! [ -s "$3" ]; do
		sleep 0.05
	done
}

# sink NAMESPACE ADDRESS FILE
sink()
{
	within "$1" ptcpbench sink -a "$2" -p "$(cat "$3")" -c $connections \
		>/dev/null 2>&1 &
}

# flow NAMESPACE COUNT: so many ends of connections are established, and packets
# arrive. What takes too long is the rig's to notice.
flow()
{
	while [ "$(within "$1" ss -Htn state established | wc -l)" -lt "$2" ]; do
		sleep 0.1
	done
	before=$(counters "$1" TcpInSegs)
	while [ "$(counters "$1" TcpInSegs)" -lt $((before + 100)) ]; do
		sleep 0.05
	done
}

namespaces nsenter awk ss
serve "$server" 127.0.0.1 "$tmp/loopback"
sink "$server" 127.0.0.1 "$tmp/loopback"
serve "$server" 192.0.2.1 "$tmp/veth"
sink "$client" 192.0.2.1 "$tmp/veth"
# Its sink is the host's.
serve "" 10.77.1.1 /share/taps
flow "$server" $((3 * connections))
flow "$client" $connections
flow "" $connections
echo "$((5 * connections)) live ends of connections"

rig-mark end
echo 0 >/share/status
sync
[ "$way" != killed ] || kill -KILL -1
echo "<1>rig: done" >/dev/kmsg
reboot -f
