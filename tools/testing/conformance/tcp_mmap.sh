#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# tcp_mmap.sh - the kernel's tcp_mmap, which has a server that does not end and is
# built to send less (scripts/conformance.sh): what is read or mapped is what was
# sent, by its digest, and some is mapped where that is asked for.
set -u

status=0

# try NAME PATTERN ADDRESS OPTION...: of both ends, the first is that of the family.
try()
{
	name=$1 pattern=$2 address=$3
	shift 3
	./tcp_mmap "$@" -s -i -M 4108 >/tmp/tcp_mmap 2>&1 &
	server=$!
	until [ -n "$(ss -Hltn "sport = 8787")" ]; do
		sleep 0.1
	done
	./tcp_mmap "$@" -i -H "$address"
	until grep -q '^received' /tmp/tcp_mmap || ! kill -0 $server; do
		sleep 0.1
	done
	kill $server
	wait $server
	cat /tmp/tcp_mmap
	if grep -q '^SHA256 is correct' /tmp/tcp_mmap &&
	   grep -q "$pattern" /tmp/tcp_mmap; then
		echo "PASS: $name"
	else
		echo "FAIL: $name"
		status=1
	fi
}

try "IPv4, read" "received 64 MB (0 % mmap'ed)" 127.0.0.1 -4
try "IPv6, read" "received 64 MB (0 % mmap'ed)" ::1 -6
try "IPv4, mapped" "received 64 MB ([1-9]" 127.0.0.1 -4 -z
try "IPv6, mapped" "received 64 MB ([1-9]" ::1 -6 -z
exit $status
