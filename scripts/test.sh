#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# test.sh - everything that `make test` and CI run, in the order in which a
# mistake is found soonest.  Each stage prints TAP; its lines are counted here,
# and a stage that fails without a "not ok" counts as one failure.
#
#   scripts/test.sh [STAGE...]
#
# Ends with the line "N passed, N failed, N skipped", and exits with 1 if
# anything failed.
set -eu
. "$(dirname "$0")/lib.sh"

# Each stage says which kernels it wants.
unset DEBUG VARIANT

stages="squeue ptcpbench kernels style identity rig $ORGANISATIONS debug"
logs=$BUILD/test
passed=0
failed=0
skipped=0
bad=

kernels()
{
	for org in $ORGANISATIONS; do
		if ORG=$org "$TOP/scripts/kernel.sh"; then
			echo "ok - kernel $org builds"
		else
			echo "not ok - kernel $org builds"
		fi
	done
}

debug()
{
	status=0
	for org in connp-l connp-t; do
		if ORG=$org VARIANT=debug "$TOP/scripts/kernel.sh"; then
			echo "ok - debug kernel $org builds"
			VARIANT=debug "$TOP/scripts/test-guest.sh" "$org" || status=1
		else
			echo "not ok - debug kernel $org builds"
		fi
	done
	return $status
}

style()
{
	status=0
	"$TOP/scripts/check-style.sh" || status=1
	if "$TOP/scripts/readme-results.sh" --check; then
		echo "ok - README's table is that of the committed results"
	else
		echo "not ok - README's table is that of the committed results"
		status=1
	fi
	return $status
}

stage()
{
	case $1 in
	squeue)	make -s -C "$TOP/tools/testing/squeue" test ;;
	ptcpbench)
		make -s -C "$TOP/tools/net/ptcpbench" O="$BUILD/tools" &&
		"$TOP/tools/net/ptcpbench/test.sh" "$BUILD/tools/ptcpbench" ;;
	kernels) kernels ;;
	style)	style ;;
	identity) "$TOP/scripts/check-identity.sh" ;;
	rig)	"$TOP/scripts/test-rig.sh" ;;
	debug)	debug ;;
	*)	"$TOP/scripts/test-guest.sh" "$1" ;;
	esac
}

count()
{
	grep -c "$1" "$logs/$2.log" || true
}

# shellcheck disable=SC2086 # a list of words
[ $# != 0 ] || set -- $stages
for name; do
	case " $stages " in
	*" $name "*) ;;
	*) die "$name is not a stage; stages are: $stages" ;;
	esac
done

mkdir -p "$logs"
"$TOP/scripts/prepare.sh"

for name; do
	begin=$(date +%s)
	say "stage $name"
	{
		status=0
		stage "$name" 2>&1 || status=$?
		echo "$status" >"$logs/$name.status"
	} | tee "$logs/$name.log"
	status=$(cat "$logs/$name.status")

	skip=$(count '^ok .*# SKIP' "$name")
	ok=$(($(count '^ok ' "$name") - skip))
	not=$(count '^not ok ' "$name")
	if [ "$status" != 0 ] && [ "$not" = 0 ]; then
		echo "not ok - stage $name ended with status $status"
		not=1
	fi
	if [ "$status" = 0 ] && [ $((ok + skip + not)) = 0 ]; then
		echo "not ok - stage $name ran no test"
		not=1
	fi
	[ "$not" = 0 ] || bad="$bad $name"
	passed=$((passed + ok))
	failed=$((failed + not))
	skipped=$((skipped + skip))
	say "stage $name: $ok passed, $not failed, $skip skipped," \
	    "$(($(date +%s) - begin)) s"
done

for name in $bad; do
	echo "-- failed in stage $name (all of it: $logs/$name.log)"
	grep '^not ok ' "$logs/$name.log" || true
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
