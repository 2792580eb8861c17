#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# clients-taps.sh PTCPBENCH NICS - the host's side of guest-taps.sh, run in the
# clients' namespace: a verifying sink for each of its steps. Always succeeds;
# the guest reports.
set -u

bench=$1
guest4='' guest6='' host4=''
for n in $(seq "$2"); do
	guest4="$guest4${guest4:+,}10.77.$n.1"
	guest6="$guest6${guest6:+,}fd77:$n::1"
	host4="$host4${host4:+,}10.77.$n.2"
done

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
sink 1 -a "$guest4"
served 2
sink 2 -a "$guest6"
sink 3 -a "$host4" --active --ready "$SHARE/taps-3.ready"
served 4
sink 4 -a "$guest4"
served 5
sink 5 -a "$guest4"
