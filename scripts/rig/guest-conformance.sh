#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# guest-conformance.sh LIST [FILE] - the guest's side of scripts/conformance.sh: run
# each of the kernel's selftests that LIST names (seconds that it may take,
# program, arguments), and say where its output begins and ends.
#
# Each is run in its directory, as kselftest's runner does, and leaves nothing
# to the next: no process, no namespace, no device, no connection.
#
# With FILE what a test says goes there until it has ended: the share is the
# host's, and while a guest whose clock counts instructions waits for it, its
# clock runs on to the next timer.
set -u

# Tests that measure time say by how much they may be off on a slow machine,
# which an emulator is.
export KSFT_MACHINE_SLOW=yes
# What mptcp's tests take to be unstable they report as passed otherwise.
export SELFTESTS_MPTCP_LIB_OVERRIDE_FLAKY=1

session=/tmp/session

# Scripts that have nft read from /dev/stdin.
ln -s /proc/self/fd/0 /dev/stdin

tidy()
{
	pkill -KILL -s "$(cat $session)" 2>/dev/null
	ip -all netns delete 2>/dev/null
	for link in /sys/class/net/*; do
		[ "${link##*/}" = lo ] || ip link delete "${link##*/}"
	done 2>/dev/null
	tc qdisc delete dev lo root 2>/dev/null
	tc qdisc delete dev lo ingress 2>/dev/null
	# bind_wildcard met ports that an earlier test had left in TIME_WAIT.
	ss -Kta state time-wait >/dev/null 2>&1
}

# session SECONDS PROGRAM ARGUMENT...
session()
{
	# shellcheck disable=SC2016 # sh of the session expands
	setsid -w sh -c 'echo $$ >"$0"; exec timeout -k 5 "$@"' $session \
		"$@" </dev/null 2>&1
}

list=$1
output=${2:-}
while read -r seconds program arguments; do
	echo "rig: begin $program"
	begin=$(date +%s)
	cd "/conformance/${program%/*}" || exit
	status=0
	# shellcheck disable=SC2086 # words
	set -- "$seconds" "./${program##*/}" $arguments
	if [ -n "$output" ]; then
		session "$@" >"$output" || status=$?
		cat "$output"
	else
		session "$@" || status=$?
	fi
	printf '\nrig: end %d %d\n' $status $(($(date +%s) - begin))
	tidy
done <"$list"
exit 0
