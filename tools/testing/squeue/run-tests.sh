#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# run-tests.sh SECONDS - run what "make test" built, as one TAP report.
#
# Three parts: the races, each for SECONDS; the same race against squeue.c
# with one defect put in at a time, which it must notice; and the Spin model,
# which must hold, and must not with a defect in it.  A test that fails shows
# what it printed, as TAP comments.
#
# Run by the Makefile, which sets CC, CFLAGS, FLAGS_*, O and KSRC.
set -eu

: "${CC?run \"make test\" instead}" "${CFLAGS?}" "${O?}" "${KSRC?}"
: "${FLAGS_tsan?}" "${FLAGS_asan?}"
seconds=${1?expected: run-tests.sh SECONDS}

cd "$(dirname -- "$0")"
source=../../../kernel/locking/squeue.c

# name @ variant @ what it must report, for grep -E @ the defect, for sed
defects='
no second look@plain@stranded@s/if (llist_empty(&sq->incoming))$/if (true)/
no barrier@plain@stranded@s/smp_mb();/barrier();/
kick forgotten@plain@kicks; counted|stranded@/^void squeue_leave/,/^}/s/sq->policy->kick(sq);//
order not reversed@plain@came after node@s/first = llist_reverse_order(first);//
rest of a batch forgotten@plain@came after node|drained nothing|stranded|were processed@s/^\tif (!first) {/\tif (true) {/
lock not taken@plain@spin_is_held_here|was inside@/^void squeue_poke/,/^}/s/spin_trylock(&sq->lock)/true/
drain without bound@plain@the budget is@s/^\t\tmax -= n;//
budget of zero taken literally@plain@drained nothing@s/max(\(READ_ONCE(sq->limits->budget)\), 1U)/\1/
drain inside a drain@plain@pokes from inside|was inside@/^void squeue_poke/,/^}/s/if (unlikely(this_cpu_read(squeue_current)))/if (false)/
bytes not returned@plain@bytes is@s/atomic_long_sub(bytes, &sq->bytes);/(void)bytes;/
limit on length ignored@plain@nodes waited@s/squeue_len(sq) >= READ_ONCE(limits->max_len)/false/
node read after it was processed@asan@heap-use-after-free@s/^\t\tsq->batches++;/\t\tsq->batches += batch->next != batch;/
counter written without the lock@tsan@data race@/^void squeue_leave/,/^}/s/^\t\tspin_unlock(&sq->lock);/&\n\t\tsq->len_max++;/
'
# These show only while one CPU unlocks and another adds.
two_cpus='no second look|no barrier'

# What Spin says when it did not look everywhere.
cut_short='not completed|depth too small|out of memory'

# flags of the model @ what Spin must report
models='
-DBUDGET=1@errors: 0
-DBUDGET=2@errors: 0
-DNO_BARRIER@assertion violated ((q_len(incoming)==0)
-DNO_RECHECK@assertion violated ((q_len(incoming)==0)
'

# ThreadSanitizer cannot place its shadow where addresses are very random; a
# container may not be allowed to change that, and may not need to.
fixed_addresses=
if setarch -R true 2>/dev/null; then
	fixed_addresses='setarch -R'
fi

number=0
failed=0
skipped=0

# report STATUS NAME LOG: STATUS is "ok" or "not ok"
report()
{
	number=$((number + 1))
	[ "$1" = ok ] || failed=$((failed + 1))
	printf '%s %d - %s\n' "$1" "$number" "$2"
	sed 's/^/# /' "$3"
}

# race PROGRAM SECONDS
race()
{
	# It ends by itself; what takes a minute longer hangs.
	# shellcheck disable=SC2086 # a command and its option
	TSAN_OPTIONS=halt_on_error=1 $fixed_addresses \
		timeout $(($2 + 60)) "$1" -t "$2"
}

# run_race VARIANT
run_race()
{
	echo "running: torture-$1 for $seconds s" >&2
	log=$O/torture-$1.log
	status='not ok'
	if race "$O/torture-$1" "$seconds" >"$log" 2>&1; then
		status=ok
	fi
	report "$status" "squeue race: $1" "$log"
}

# run_defect NAME VARIANT EXPECTED SED
run_defect()
{
	if [ "$(nproc)" -lt 2 ] && echo "$1" | grep -qxE "$two_cpus"; then
		number=$((number + 1))
		skipped=$((skipped + 1))
		echo "ok $number - squeue race notices: $1 # SKIP needs two CPUs"
		return
	fi
	echo "running: with a defect: $1" >&2
	log=$O/defect.log
	case $2 in
	plain) flags= ;;
	tsan) flags=$FLAGS_tsan ;;
	asan) flags=$FLAGS_asan ;;
	esac
	sed "$4" "$source" >"$O/defect.c"
	status='not ok'
	# shellcheck disable=SC2086 # flags are many words
	if cmp -s "$source" "$O/defect.c"; then
		echo "the defect no longer applies to squeue.c: $4" >"$log"
	elif ! $CC $CFLAGS $flags "$O/defect.c" torture.c \
	     "$KSRC/lib/llist.c" -o "$O/defect" >"$log" 2>&1; then
		:
	elif race "$O/defect" 8 >"$log" 2>&1; then
		echo "the race did not notice" >>"$log"
	elif grep -qE -- "$3" "$log"; then
		status=ok
		grep -E -- "$3" "$log" | head -n 3 >"$log.line"
		mv "$log.line" "$log"
	else
		echo "expected: $3" >>"$log"
	fi
	report "$status" "squeue race ($2) notices: $1" "$log"
}

# run_model FLAGS EXPECTED
run_model()
{
	echo "running: spin $1" >&2
	dir=$O/spin
	log=$O/spin.log
	rm -rf "$dir"
	mkdir "$dir"
	cp squeue.pml "$dir"
	status='not ok'
	if (cd "$dir" && spin -a "$1" squeue.pml &&
	    $CC -O2 -DSAFETY pan.c -o pan && ./pan -m100000) >"$log" 2>&1 &&
	   grep -qF -- "$2" "$log"; then
		status=ok
	fi
	# A search that was cut short proves nothing.
	if [ "$2" = 'errors: 0' ] && grep -qE "$cut_short" "$log"; then
		status='not ok'
	fi
	grep -E '^spin:|^pan:|errors:|states, stored' "$log" >"$log.line" ||
		cp "$log" "$log.line"
	report "$status" "squeue model $1: $2" "$log.line"
}

count()
{
	printf '%s' "$1" | grep -c .
}

if ! command -v spin >/dev/null; then
	echo "run-tests.sh: spin is not installed; try: apt install spin" >&2
	exit 1
fi

echo 'TAP version 13'
echo "1..$((3 + $(count "$defects") + $(count "$models")))"

for variant in plain tsan asan; do
	run_race "$variant"
done
while IFS='@' read -r name variant expected command; do
	[ -z "$name" ] ||
		run_defect "$name" "$variant" "$expected" "$command"
done <<END
$defects
END
while IFS='@' read -r flags expected; do
	[ -z "$flags" ] || run_model "$flags" "$expected"
done <<END
$models
END

echo "# $((number - failed - skipped)) passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
