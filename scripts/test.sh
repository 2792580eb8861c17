#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# test.sh - everything that `make test` and CI run, in the order in which a
# mistake is found soonest.  Each stage prints TAP; its lines are counted here,
# and a stage that fails without a "not ok" counts as one failure.
#
#   [MINUTES=57] [CONNP_FULL=1] scripts/test.sh [STAGE...]
#
# How fast machines are is very different.  Where all stages would take longer than
# MINUTES (none: no limit), the guests that would end later are not booted, and
# the last lines say which: what is tried on a fast machine is not shortened for
# a slow one.
#
# With CONNP_FULL=1, for `make test-full`, the tests are given more time, and
# there are more stages, which take hours: UP among them, where nothing of ours
# runs and every object is another.
#
# Leaves one TAP file of all stages, and prints a table for each organisation.
# Ends with the line "N passed, N failed, N skipped", and exits with 1 if
# anything failed.
set -eu
. "$(dirname "$0")/lib.sh"

# Each stage says which kernels it wants.
unset DEBUG VARIANT

# Kernels that check themselves find most, and are slow: soon after the reference.
stages='squeue ptcpbench paper kernels style identity rig profiler hash reboot msgp debug connp-l connp-t'
# As asked for: the seed of a soak, and the rounds in kernels that check themselves.
asked_seed=${FUZZ_SEED:-}
debug_rounds=${FUZZ_ROUNDS:-}
more='up hosts mutants full conformance fulldebug kcsan soak'
if [ -n "${CONNP_FULL:-}" ]; then
	stages="$stages $more"
	organisations=$ORGANISATIONS
	# For the debug kernels; others have the default of fuzz.
	fuzz_seconds=600
else
	organisations='msgp connp-l connp-t'
	# An hour, with the packages that make test installs before. Who names stages
	# wants these.
	[ $# != 0 ] || : "${MINUTES=57}"
	fuzz_seconds=
	# One that has found something, and always the same rounds, so that a
	# short run's verdict is no matter of luck: but for a soak, which is long.
	export FUZZ_SEED="${FUZZ_SEED:-0x3c9e76017a6ec56f}"
	export FUZZ_ROUNDS="${FUZZ_ROUNDS:-60}"
	# There, one takes seconds.
	debug_rounds=${debug_rounds:-8}
fi
: "${MINUTES=}"
logs=$BUILD/test
passed=0
failed=0
skipped=0
bad=

kernels()
{
	for org in $organisations; do
		if ORG=$org "$TOP/scripts/kernel.sh"; then
			echo "ok - kernel $org builds"
		else
			echo "not ok - kernel $org builds"
		fi
	done
}

# variant VARIANT COMMAND ORG...: build this kernel of each, and give it to
# COMMAND.
variant()
{
	variant=$1 command=$2
	shift 2
	status=0
	for org; do
		# As test-guest.sh does, but before it is built.
		if ! in_time "boot$variant"; then
			echo "ok - $org $variant: all of it $NO_TIME"
			continue
		fi
		if ORG=$org VARIANT=$variant "$TOP/scripts/kernel.sh"; then
			echo "ok - $variant kernel $org builds"
			VARIANT=$variant "$TOP/scripts/$command" "$org" ||
				status=1
		else
			echo "not ok - $variant kernel $org builds"
			status=1
		fi
	done
	return $status
}

# Stock's are a reference: what fails there, too, is the test or the platform.
debug()
{
	FUZZ_SECONDS=$fuzz_seconds FUZZ_ROUNDS=$debug_rounds variant debug test-guest.sh \
		${CONNP_FULL:+msgp} connp-l connp-t
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

paper()
{
	status=0
	"$TOP/scripts/evaluation/tests.py" || status=1
	"$TOP/scripts/evaluation/hosttests.py" || status=1
	return $status
}

# Of all organisations at a time, as boots take most of it, and one CPU each; what
# each has to say comes in one piece.
reboot()
{
	make -s -C "$TOP/tools/net/ptcpbench" O="$BUILD/tools" || return
	# shellcheck disable=SC2016 # for the shell that xargs runs
	echo "$organisations" | xargs -n 1 -P "$(nproc)" sh -c '
		status=0
		said=$("$0" "$1" 2>&1) || status=$?
		printf "%s\n" "$said"
		exit $status' "$TOP/scripts/test-reboot.sh"
}

# The list is the same whatever the number of groups.
conformance()
{
	same=0
	variant full conformance.sh msgp connp-l connp-t || same=1
	for groups in 1 1024; do
		export APPEND=tcp_connp.groups=$groups
		variant full conformance.sh connp-l || same=1
	done
	APPEND=tcp_connp.groups=1 variant full conformance.sh connp-t || same=1
	unset APPEND
	return $same
}

# What only full kernels can do, under the eyes of the instruments: BPF's iterators,
# and NAT.  nf_nat_edemux.sh counts on seconds, which are too short there.
fulldebug()
{
	clean=0
	export TESTS=net/netfilter/conntrack_vrf.sh
	variant fulldebug conformance.sh connp-l connp-t || clean=1
	export TESTS="storm disturbed kmemleak.sh"
	variant fulldebug test-guest.sh connp-l connp-t || clean=1
	unset TESTS
	return $clean
}

stage()
{
	case $1 in
	squeue)	make -s -j"$(nproc)" -C "$TOP/tools/testing/squeue" test ;;
	ptcpbench)
		make -s -C "$TOP/tools/net/ptcpbench" O="$BUILD/tools" &&
		"$TOP/tools/net/ptcpbench/test.sh" "$BUILD/tools/ptcpbench" ;;
	paper)	paper ;;
	hosts)	"$TOP/scripts/test-hosts.sh" ;;
	kernels) kernels ;;
	style)	style ;;
	identity) "$TOP/scripts/check-identity.sh" ;;
	rig)	"$TOP/scripts/rig/verdict-tests.py" &&
		"$TOP/scripts/rig/kcsan-tests.py" &&
		"$TOP/scripts/rig/soak-tests.py" &&
		"$TOP/scripts/test-rig.sh" ;;
	profiler) "$TOP/scripts/test-profiler.sh" ;;
	hash)	"$TOP/scripts/test-hash.sh" connp-l &&
		"$TOP/scripts/test-hash.sh" connp-t ;;
	reboot)	reboot ;;
	debug)	debug ;;
	mutants) "$TOP/scripts/test-mutants.sh" ;;
	full)	variant full test-guest.sh msgp connp-l connp-t ;;
	conformance) conformance ;;
	fulldebug) fulldebug ;;
	kcsan)	variant kcsan test-guest.sh connp-l connp-t ;;
	soak)	build_selftests || return
		# shellcheck disable=SC2086 # may be a list
		FUZZ_SEED=$asked_seed variant fulldebug soak.py ${ORG:-connp-l connp-t} ;;
	# Its kernel is not among those of `make test`.
	up)	ORG=up "$TOP/scripts/kernel.sh" &&
		"$TOP/scripts/test-guest.sh" up ;;
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
	case " $stages $more " in
	*" $name "*) ;;
	*) die "$name is not a stage; stages are: $stages $more" ;;
	esac
done

case $MINUTES in
*[!0-9]*|0?*) die "MINUTES=$MINUTES is no number; leave it out, or empty for no limit" ;;
'')	;;
*)	export DEADLINE=$(($(date +%s) + MINUTES * 60)) ;;
esac
mkdir -p "$logs"
rm -f "$logs"/took-*
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

logged=
for name; do
	logged="$logged $logs/$name.log"
done
# shellcheck disable=SC2086 # a list of files
"$TOP/scripts/test-summary.py" "$logs/all.tap" $logged
for name in $bad; do
	echo "-- failed in stage $name (all of it: $logs/$name.log)"
	# And what they said of it, before and after, as these lines are all that
	# some may see.
	awk -v most=30 '
	/^#/ {
		if (after-- > 0)
			print
		else
			said[++n] = $0
		next
	}
	/^not ok / {
		for (i = n > most ? n - most + 1 : 1; i <= n; i++)
			print said[i]
		print
	}
	{ n = 0; after = /^not ok / ? 12 : 0 }' "$logs/$name.log"
done
for name; do
	sed -n "s/^ok [0-9 ]*- \(.*\) $NO_TIME.*/-- not run within MINUTES=$MINUTES: \1/p" \
		"$logs/$name.log"
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
