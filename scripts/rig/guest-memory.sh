#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# guest-memory.sh ADDRESSES CONNS - the guest's side of memory.py: what the
# kernel has allocated before, and while, CONNS connections stand idle.
#
# ptcpbench accepts them. It is told of one more for each address, which never
# comes, so it goes on waiting and nothing is sent. hold-connections.py, on the
# host, makes $SHARE/held (by default /share/held) when all have been accepted;
# `before` and `during` are then what was seen.
set -eu

addresses=$1
conns=$2
share=${SHARE:-/share}
nics=$(echo "$addresses" | tr ',' '\n' | wc -l)

# snapshot DIRECTORY
snapshot()
{
	mkdir "$1"
	cat /proc/meminfo >"$1/meminfo"
	cat /proc/net/sockstat >"$1/sockstat"
	# Those of port 5010 that are established: others are none of ours.
	grep -c ' [0-9A-F]*:1392 [0-9A-F]*:[0-9A-F]* 01 ' /proc/net/tcp \
		>"$1/conns" || true
}

uname -r >"$share/release"
if [ -e /sys/kernel/slab/TCP/object_size ]; then
	cat /sys/kernel/slab/TCP/object_size >"$share/socket"
fi
ptcpbench serve --address "$addresses" --connections $((conns + nics)) \
	--timeout 600 --ready "$share/ready" >"$share/serve.log" 2>&1 &
serve=$!
while ! [ -e "$share/ready" ]; do
	kill -0 $serve || { cat "$share/serve.log"; exit 1; }
	sleep 0.1
done
snapshot "$share/before"
touch "$share/listening"
while ! [ -e "$share/held" ]; do
	kill -0 $serve || { cat "$share/serve.log"; exit 1; }
	sleep 0.1
done
snapshot "$share/during"
touch "$share/done"
kill $serve
wait $serve 2>/dev/null || true
