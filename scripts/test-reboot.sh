#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# test-reboot.sh ORG - a guest reboots while connections are carrying data, in
# one boot with all processes alive, in another right after they were killed. It
# has to come down by itself, without the kernel having anything to say.
# TAP on stdout.
#
#   [VARIANT=debug] scripts/test-reboot.sh ORG
#
# Needs root, for the taps.
set -eu
. "$(dirname "$0")/lib.sh"

org=${1:?"usage: [VARIANT=debug] $0 ORG"}
org_builddir "$org" "$VARIANT" >/dev/null
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
count=0
failed=0
timeout=120
[ -z "$VARIANT" ] || timeout=300

make -s -C "$TOP/tools/net/ptcpbench" O="$BUILD/tools" >&2

# The host's end of the connections over the tap, until the guest has left it.
# What becomes of them does not count, and that they were there the guest says.
cat >"$work/host" <<-'EOT'
	while ! [ -s "$SHARE/taps" ]; do
		sleep 0.05
	done
	"$1" sink -a 10.77.1.1 -p "$(cat "$SHARE/taps")" -c 24 >/dev/null 2>&1 &
	while ip link show tap1 | grep -q LOWER_UP; do
		sleep 0.05
	done
	kill $! 2>/dev/null || true
EOT

# reboot WAY WHAT
reboot()
{
	count=$((count + 1))
	status=0
	"$TOP/scripts/guest-run.py" --org "$org" \
		${VARIANT:+--variant "$VARIANT"} --nics 1 --timeout $timeout \
		--copy "$TOP/scripts/rig/guest-reboot.sh:/script/reboot" \
		--host-script "sh $work/host $BUILD/tools/ptcpbench" \
		-- /script/reboot "$1" >"$work/out" 2>&1 || status=$?
	if [ $status = 0 ] && grep -q 'live ends of connections' "$work/out"; then
		echo "ok $count - $org${VARIANT:+ $VARIANT}: reboot: $2"
	else
		failed=1
		echo "not ok $count - $org${VARIANT:+ $VARIANT}: reboot: $2"
		echo "# status $status"
		sed 's/^/# /' "$work/out"
	fi
}

printf 'TAP version 13\n1..2\n'
reboot live "with live connections"
reboot killed "with connections of processes just killed"
[ $failed = 0 ]
