#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# guest-taps.sh - ptcpbench over all NICs of the guest, every byte verified by
# the host's own TCP behind the taps; TAP on stdout. clients-taps.sh is the
# other side, and has the same list of steps.
set -u

count=0
failed=0
guest4='' guest6='' host4=''
n=1
while [ $n -le "$RIG_NICS" ]; do
	guest4="$guest4${guest4:+,}10.77.$n.1"
	guest6="$guest6${guest6:+,}fd77:$n::1"
	host4="$host4${host4:+,}10.77.$n.2"
	n=$((n + 1))
done
bytes=24M
# A kernel that checks itself is many times slower: there, do less.
[ ! -e /proc/lockdep ] && [ ! -e /sys/kernel/debug/kcsan ] || bytes=3M

# serve STEP NAME OPTION...: the host's sink leaves its status in STEP.status.
serve()
{
	step=/share/taps-$1 name=$2
	shift 2
	count=$((count + 1))
	status=0
	ptcpbench serve -c 48 -b $bytes "$@" >"$step.log" 2>&1 || status=$?
	# Lest the host wait for a server that did not come up.
	touch "$step.ready"
	while ! [ -s "$step.status" ]; do
		sleep 0.05
	done
	read -r other <"$step.status"
	if [ "$status$other" = 00 ]; then
		echo "ok $count - $name"
	else
		failed=1
		echo "not ok $count - $name"
		sed 's/^/# guest: /' "$step.log"
		sed 's/^/# host: /' "$step.host"
	fi
}

echo "1..5"
serve 1 "IPv4" -a "$guest4" --ready /share/taps-1.ready
serve 2 "IPv6, write()" -a "$guest6" --write --ready /share/taps-2.ready
while ! [ -s /share/taps-3.ready ]; do
	sleep 0.05
done
serve 3 "IPv4, the guest connects" -a "$host4" --active
for nic in /sys/class/net/nic*; do
	echo 1 >"$nic/threaded"
done
serve 4 "IPv4, threaded NAPI" -a "$guest4" --ready /share/taps-4.ready
for nic in /sys/class/net/nic*; do
	echo 0 >"$nic/threaded"
done
echo 50 >/proc/sys/net/core/busy_read
serve 5 "IPv4, busy polling" -a "$guest4" --ready /share/taps-5.ready
echo 0 >/proc/sys/net/core/busy_read
exit $failed
