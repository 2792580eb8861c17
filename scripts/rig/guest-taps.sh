#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# guest-taps.sh - ptcpbench over all NICs of the guest, every byte verified by
# the host's own TCP behind the taps; TAP on stdout. clients-taps.sh is the
# other side, and has the same list of steps.
set -u
# shellcheck source=../../tools/testing/selftests/net/tcp_connp/lib.sh
. "$(dirname "$0")/lib.sh"

# serve STEP NAME OPTION...: the host's sink leaves its status in STEP.status.
serve()
{
	step=/share/taps-$1 name=$2
	shift 2
	status=0
	ptcpbench serve -c 48 -b $bytes "$@" >"$step.log" 2>&1 || status=$?
	# Lest the host wait for a server that did not come up.
	touch "$step.ready"
	while ! [ -s "$step.status" ]; do
		sleep 0.05
	done
	read -r other <"$step.status"
	[ "$other" = 0 ] || status=$other
	result "$status" "$name"
	if [ "$status" != 0 ]; then
		sed 's/^/# guest: /' "$step.log"
		sed 's/^/# host: /' "$step.host"
	fi
}

# set_to VALUE FILE: without it, what comes next would not be what it is called.
set_to()
{
	if ! echo "$1" >"$2" || [ "$(cat "$2")" != "$1" ]; then
		failed=1
		echo "# $2 does not take $1"
	fi
}

# threaded VALUE
threaded()
{
	for nic in /sys/class/net/nic*; do
		set_to "$1" "$nic/threaded"
	done
}

echo "1..5"
serve 1 "IPv4" -a "$RIG_GUEST4" --ready /share/taps-1.ready
serve 2 "IPv6, write()" -a "$RIG_GUEST6" --write --ready /share/taps-2.ready
while ! [ -s /share/taps-3.ready ]; do
	sleep 0.05
done
serve 3 "IPv4, the guest connects" -a "$RIG_HOST4" --active
threaded 1
serve 4 "IPv4, threaded NAPI" -a "$RIG_GUEST4" --ready /share/taps-4.ready
threaded 0
set_to 50 /proc/sys/net/core/busy_read
serve 5 "IPv4, busy polling" -a "$RIG_GUEST4" --ready /share/taps-5.ready
set_to 0 /proc/sys/net/core/busy_read
exit $failed
