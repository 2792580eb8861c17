#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# test-rig.sh [ORG] - does the rig notice what it must notice? TAP on stdout.
#
# Everything else trusts the rig's verdict, so here each kind of failure is
# brought about on purpose in a guest, once, and has to be reported as such.
set -eu

. "$(dirname "$0")/lib.sh"

org=${1:-msgp}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
count=0

# run NAME STATUS TEXT guest-run-arguments...: the run $count has to end with STATUS
# and say TEXT.
run()
{
	name=$1 expected=$2 text=$3 out=$work/$count.out
	shift 3
	status=0
	"$TOP/scripts/guest-run.py" --org "$org" "$@" >"$out" 2>&1 || status=$?
	if [ "$status" = "$expected" ] && grep -qF -- "$text" "$out"; then
		printf 'ok %d - %s\n' "$count" "$name"
		# The failure was wanted: its evidence need not be kept.
		sed -n 's/^console kept in \(.*\)\/console.log$/\1/p' "$out" |
			while read -r folder; do rm -r "$folder"; done
	else
		printf 'not ok %d - %s\n' "$count" "$name"
		printf '# expected status %s and "%s", got status %s and:\n' \
			"$expected" "$text" "$status"
		sed 's/^/# /' "$out"
	fi
}

# expect, as run: but two at a time, for most of a run is the boot, which one CPU
# does.
expect()
{
	count=$((count + 1))
	run "$@" >"$work/$(printf %02d $count).result" &
	[ $((count % 2)) = 1 ] || results
}

# What the runs that have begun came to, in order.
results()
{
	wait
	cat "$work"/*.result | tee -a "$work/all"
	rm "$work"/*.result
}

# What a test says that makes allocations fail, and the kernel of those that do.
begin='<1>connp: allocations are made to fail'
end='<1>connp: allocations are no longer made to fail'
failure='sh: page allocation failure: order:0, mode:0x0(), nodemask=(null)
Call Trace:'

# says LINE...: a script that has the kernel's log say this.
says()
{
	printf '%s\n' "$@" | sed "s/.*/echo '&' >\/dev\/kmsg/"
}

printf 'TAP version 13\n1..15\n'
expect "success" 0 "in the guest" -- echo "in the guest"
expect "a script's exit status" 3 "three" -- sh -c 'echo three; exit 3'
expect "a crash" 99 "sysrq triggered crash" -- \
	sh -c 'echo c >/proc/sysrq-trigger'
expect "a warning" 99 "kernel fault: " -- \
	sh -c 'echo "WARNING: CPU: 0 PID: 1 at test-rig" >/dev/kmsg'
expect "an allocation that fails" 99 "page allocation failure" -- \
	sh -c "$(says "$failure")"
expect "one that was made to fail" 0 "expected" -- \
	sh -c "$(says "$begin" "$failure" "$failure" "$end"); echo expected"
expect "one that fails afterwards" 99 "page allocation failure" -- \
	sh -c "$(says "$begin" "$end" "$failure")"
expect "another trace meanwhile" 99 "kernel fault: " -- \
	sh -c "$(says "$begin" "$failure" "Call Trace:" "$end")"
expect "failing that has no end" 99 "kernel fault: " -- \
	sh -c "$(says "$begin")"
expect "a device that is not let go" 99 "waiting for" -- sh -c "$(says \
	"unregister_netdevice: waiting for veth0 to become free")"
expect "no success token" 99 "without its success token" -- \
	reboot -f
expect "a script that does not end" 99 "did not end within" --timeout 3 -- \
	sleep 1000
expect "a CPU that does not come up" 99 "CPUs came up" --cpus 2 \
	--append maxcpus=1 -- true
expect "a wrong clock" 99 "clock ran" --append tsc_early_khz=1000000 -- \
	sleep 4
expect "a failure beside the guest" 99 "ended with status 7" --nics 1 \
	--host-script "exit 7" -- sleep 1000
[ $((count % 2)) = 0 ] || results
[ "$(grep -c '^ok' "$work/all")" = "$count" ]
