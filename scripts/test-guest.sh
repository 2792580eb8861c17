#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# test-guest.sh ORG - boot one kernel, and run the selftests and the verifying
# benchmark in it; TAP on stdout, one numbering for all of it.
#
#   [VARIANT=debug] [CONNP_FULL=1] [TESTS="fin userfault taps"] \
#	scripts/test-guest.sh ORG
#
# The kernel has to be built; with VARIANT=debug it is the one with lockdep,
# KASAN and their like, with VARIANT=kcsan the one that looks for data races.
# ConnP-L is booted with its default number of groups, where connections meet
# rarely, and with one, where they all do; ConnP-T also with more threads than
# CPUs; these two kernels with the default, and debug's with one group for a few of
# the tests. Tests to which the number of groups is nothing are run with the
# default, and neighbour, which is about one group, with that: in these two kernels
# it skips. With CONNP_FULL=1, which the tests know, too, they take longer, these
# have all of that, nothing is left out, and ConnP-L is booted with the most groups,
# too. A kernel that oopses, warns or
# stalls fails the run whatever the tests say: guest-run.py notices.
# Needs root, for the taps.
set -eu
. "$(dirname "$0")/lib.sh"

org=${1:?"usage: [VARIANT=debug] $0 ORG"}
org_builddir "$org" "$VARIANT" >/dev/null
nics=6
timeout=900
# All tests of a kernel that checks itself take a quarter of an hour where it is slow.
[ "$VARIANT" != debug ] || timeout=1800
[ -z "${CONNP_FULL:-}" ] || timeout=7200
selftests=$TOP/tools/testing/selftests/net/tcp_connp
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo 0 >"$work/count"

build_selftests
make -s -C "$TOP/tools/net/ptcpbench" O="$BUILD/tools" >&2
# Memory is looked for when all who may have lost some are done.
all=${TESTS:-$(make -s -C "$selftests" list | sed 's/ kmemleak.sh//') taps kmemleak.sh}

# boot NAME APPEND TEST...: run tests in a guest of its own.
boot()
{
	boot=$1 append=$2
	shift 2
	if ! in_time "boot$VARIANT"; then
		count=$(($(cat "$work/count") + 1))
		echo "$count" >"$work/count"
		echo "ok $count - $boot: all of it $NO_TIME" | tee -a "$work/tap"
		return
	fi
	say "$boot: $*"
	begun=$(date +%s)
	tests=$*
	set -- --org "$org" ${VARIANT:+--variant "$VARIANT"} --append "$append" \
		--timeout $timeout \
		--copy "$TOP/scripts/rig/guest-tests.sh:/script/tests"
	case " $tests " in
	*" taps "*)
		set -- "$@" --nics $nics \
			--copy "$TOP/scripts/rig/guest-taps.sh:/selftests/taps" \
			--host-script "$TOP/scripts/rig/clients-taps.sh \
				       $BUILD/tools/ptcpbench"
		;;
	esac
	{
		status=0
		# shellcheck disable=SC2086 # a list of names
		"$TOP/scripts/guest-run.py" "$@" -- \
			env VARIANT="$VARIANT" \
			CONNP_FULL="${CONNP_FULL:-}" \
			FUZZ_SEED="${FUZZ_SEED:-}" \
			FUZZ_ROUNDS="${FUZZ_ROUNDS:-}" \
			FUZZ_SECONDS="${FUZZ_SECONDS:-}" /script/tests $tests \
			2>"$work/stderr" || status=$?
		sed 's/^/# /' "$work/stderr"
		echo "$status" >"$work/status"
	} | "$TOP/scripts/rig/flatten-tap.py" "$boot" "$work/count" \
		"$work/status" | tee -a "$work/tap"
	took "boot$VARIANT" "$begun"
}

# with GROUPS: those of $all to which it matters that there are so many groups, or
# as many as by default ("").
with()
{
	leave='' only=''
	case $1 in
	# It is about one group: only if that comes, too.
	"")	case " $counts " in *" 1 "*) leave=neighbour ;; esac ;;
	# Where there is one connection at a time or none; and one that gets into
	# another part of the table, which has one.
	1)	leave='crossing sysctl.sh dynaddr' ;;
	# The same, and where connections are in one group or two.
	*)	leave='neighbour crossing sysctl.sh starve limits output' ;;
	esac
	# Whose connections are in the group that is held.
	[ "$org-${1:+n}" != connp-t-n ] || leave="$leave order lives"
	# Where nobody can get out of anybody's way, in a kernel that checks itself.
	[ "$VARIANT-$1" != debug-1 ] || only='storm pingpong userfault cycles'
	[ -z "${CONNP_FULL:-}${TESTS:-}" ] || leave='' only=''
	for test in $all; do
		case " $leave " in
		*" $test "*) continue ;;
		esac
		case " ${only:-$test} " in
		*" $test "*) echo "$test" ;;
		esac
	done | paste -s -d ' '
}

name=$org${VARIANT:+ $VARIANT}
printf 'TAP version 13\n'
refused=100
case $org in
connp-l) counts="1${CONNP_FULL:+ 1024}" ;;
connp-t) counts='1 8' ;;
*)	counts= ;;
esac
# Kernels that check themselves are slow.
case $VARIANT in
*debug)	refused=
	[ -n "${CONNP_FULL:-}" ] || counts=${counts:+1} ;;
kcsan)	refused=
	[ -n "${CONNP_FULL:-}" ] || counts= ;;
esac
boot "$name" "" "$(with "")"
for groups in $counts; do
	boot "$name groups=$groups" "tcp_connp.groups=$groups" "$(with "$groups")"
done
# No power of two: an error in the log, and the default.
[ -z "$counts" ] || [ -z "$refused" ] ||
	boot "$name groups=$refused" "tcp_connp.groups=$refused" groups
printf '1..%d\n' "$(cat "$work/count")"
! grep -q '^not ok' "$work/tap"
