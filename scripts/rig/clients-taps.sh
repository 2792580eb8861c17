#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# clients-taps.sh PTCPBENCH - the host's side of guest-taps.sh, run in the
# clients' namespace: a verifying sink for each of its steps. Always succeeds;
# the guest reports.
set -u

bench=$1

# sink STEP OPTION...
sink()
{
	step=$SHARE/taps-$1
	shift
	status=0
	"$bench" sink -c 48 --verify "$@" >"$step.host" 2>&1 || status=$?
	echo $status >"$step.status.tmp"
	mv "$step.status.tmp" "$step.status"
}

# served STEP: wait until the guest listens.
served()
{
	while ! [ -e "$SHARE/taps-$1.ready" ]; do
		sleep 0.05
	done
}

served 1
sink 1 -a "$RIG_GUEST4"
served 2
sink 2 -a "$RIG_GUEST6"
sink 3 -a "$RIG_HOST4" --active --ready "$SHARE/taps-3.ready"
served 4
sink 4 -a "$RIG_GUEST4"
served 5
sink 5 -a "$RIG_GUEST4"
