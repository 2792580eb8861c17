#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# test-profiler.sh - does the profiler count right? TAP on stdout.
#
# The model of the caches by itself, natively and under ThreadSanitizer; what
# profile.py makes of counts; known.c in a guest, with what it says its windows
# have to have, with two vCPUs and with one, where the emulator does other things
# for atomic instructions; then that the plugin refuses what it does not
# understand.  MsgP's kernel has to be built.
set -eu
. "$(dirname "$0")/lib.sh"

O=$BUILD/tcgprof
kernel=$(org_builddir msgp)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
count=0
failed=0

# verdict STATUS NAME [FILE]: a line, and if STATUS is not 0 what FILE says.
verdict()
{
	count=$((count + 1))
	if [ "$1" = 0 ]; then
		echo "ok $count - $2"
		return
	fi
	failed=1
	echo "not ok $count - $2"
	[ -z "${3:-}" ] || sed 's/^/# /' "$3"
}

# native PROGRAM NAME: run a test of its own, and number its lines with ours.
native()
{
	status=0
	timeout 120 "$1" >"$work/native" 2>"$work/errors" || status=$?
	while read -r line; do
		case $line in
		"ok "*)	verdict 0 "$2: ${line#*- }" ;;
		"not ok "*) verdict 1 "$2: ${line#*- }" ;;
		"#"*)	echo "$line" ;;
		esac
	done <"$work/native"
	grep -q '^1\.\.' "$work/native" || status=1
	verdict "$status" "$2 ends well" "$work/errors"
}

# known NAME CPUS [OPTIONS]: run it in a guest under the profiler.
known()
{
	rm -f "$work"/w.*
	status=0
	"$TOP/scripts/guest-run.py" --org msgp --cpus "$2" --timeout 120 \
		--copy "$O/known:/bin/known" --plugin \
		"$O/tcgprof.so,symbols=$kernel/System.map,out=$work/w${3:-}" \
		-- /bin/known >"$work/expected" 2>"$work/errors" || status=$?
	verdict $status "$1: a guest under the profiler" "$work/errors"
	return $status
}

# Instructions of a function that has no branch.
instructions()
{
	objdump -d --no-show-raw-insn "--disassemble=$1" "$kernel/vmlinux" |
		awk '/>:$/ { on = 1; next } on { n++ } on && /\tret/ { exit }
		     END { print n + 0 }'
}

# number WINDOW VCPU FUNCTION COLUMN: what the results have; no row is 0.
number()
{
	awk -F '\t' -v vcpu="$2" -v name="$3" -v column="$4" '
		/^#/ { next }
		$1 == "vcpu" {
			for (i = 1; i <= NF; i++)
				if ($i == column)
					at = i
			next
		}
		$1 == vcpu && $3 == name { sum += $at }
		END { if (!at) exit 1; printf "%d\n", sum }' "$work/w.$1"
}

# compare NAME COLUMN: what known expects of the column, or of each.
compare()
{
	if ! grep "	${2:-.*}	" "$work/expected" >"$work/wanted"; then
		echo "nothing is expected of ${2:-any column}" >"$work/detail"
		verdict 1 "$1: there is something to compare" "$work/detail"
	fi
	while read -r window vcpu name column expected times; do
		case $expected in
		calls) expected=$((times * $(instructions "$name"))) ;;
		esac
		got=$(number "$window" "$vcpu" "$name" "$column" 2>&1) || true
		echo "window $window, vCPU $vcpu, $name: $expected expected, got $got" \
			>"$work/detail"
		status=0
		[ "$got" = "$expected" ] || status=1
		verdict $status "$1: window $window, vCPU $vcpu, $name: $column" \
			"$work/detail"
	done <"$work/wanted"
}

# refuse NAME TEXT OPTIONS: QEMU does not start, and says why.
refuse()
{
	status=1
	qemu-system-x86_64 -nodefaults -display none -accel tcg -M microvm -S \
		-plugin "$O/tcgprof.so$3" >"$work/refusal" 2>&1 </dev/null ||
		grep -qF -- "$2" "$work/refusal" && status=0
	verdict $status "refused: $1" "$work/refusal"
}

make -s -C "$TOP/tools/tcgprof" BUILD="$BUILD" tests >&2

native "$O/cache-test" model
native "$O/cache-test-tsan" "model, ThreadSanitizer"
native "$TOP/scripts/rig/profiler-tests.py" "report"

! known "two vCPUs" 2 || compare "two vCPUs"
! known "one vCPU" 1 || compare "one vCPU"
! known "instructions only" 2 ,cache=none ||
	compare "instructions only" insns

map=$kernel/System.map
refuse "no options" "needs symbols= and out=" ""
refuse "an unknown option" "there is no option sets=3" \
	",symbols=$map,out=$work/x,sets=3"
refuse "an unknown cache" "cache=abacus" ",symbols=$map,out=$work/x,cache=abacus"
refuse "a cache that cannot be" "powers of two" \
	",symbols=$map,out=$work/x,l1=65000:2"
refuse "no System.map" "is no System.map" ",symbols=$0,out=$work/x"

echo "1..$count"
[ "$failed" = 0 ]
