#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# run-tests.sh SECONDS - run what "make test" built, as one TAP report.
#
# Four parts: the races, each for SECONDS; schedules of a generator, always the
# same; both against squeue.c with one defect put in at a time, which they must
# notice; and the Spin models, which must hold, and must not with a defect in
# them.  A test that fails shows what it printed, as TAP comments.
#
# Run by the Makefile, which sets CC, CFLAGS, FLAGS_* and O.
set -eu

: "${CC?run \"make test\" instead}" "${CFLAGS?}" "${O?}"
: "${FLAGS_tsan?}" "${FLAGS_asan?}" "${FLAGS_points?}"
seconds=${1?expected: run-tests.sh SECONDS}

cd "$(dirname -- "$0")"
source=../../../kernel/locking/squeue.c

# name @ policy @ variant @ what it must report, for grep -E @ the defect, for
# sed.  In "state set after the flag" the time between is made longer, as an
# interrupt would: as it is, a race of seconds may miss it.  The model does not.
defects='
no second look@inline@plain@stranded@s/if (llist_empty(&sq->incoming))$/if (true)/
no barrier@inline@plain@stranded@/^static void squeue_release/,/^}/s/smp_mb();/barrier();/
kick forgotten@inline@plain@kicks; counted|stranded@/^static void squeue_release/,/^}/s/sq->policy->kick(sq);//
order not reversed@inline@plain@came after node@s/first = llist_reverse_order(first);//
rest of a batch forgotten@inline@plain@came after node|drained nothing|stranded|were processed@s/^\tif (!first) {/\tif (true) {/
lock not taken@inline@plain@spin_is_held_here|was inside@/^void squeue_poke/,/^}/s/spin_trylock(&sq->lock)/true/
extra work is free@thread@plain@budgets of@s/max -= min(max, sq->extra);//
drain without bound@inline@plain@the budget is@s/^\t\tmax -= n;//
budget of zero taken literally@inline@plain@drained nothing@s/max(\(READ_ONCE(sq->limits->budget)\), 1U)/\1/
drain inside a drain@inline@plain@pokes from inside|was inside|spin_is_held_here@/^void squeue_poke/,/^}/s/if (unlikely(this_cpu_read(squeue_current)))/if (false)/
many wait to drain@inline@plain@wait to drain@s/!READ_ONCE(sq->relief) \&\& !xchg(&sq->relief, true)/(xchg(\&sq->relief, true), true)/
relief left promised@inline@plain@stranded|relief is promised@s/WRITE_ONCE(sq->relief, false);//
relieves and does not drain@inline@plain@drained nothing@/^void squeue_poke/,/^}/s/squeue_release(sq, squeue_budget(sq))/squeue_release(sq, sq->relief ? 0 : squeue_budget(sq))/
relieved and forgotten@inline@plain@stranded|relief is promised@/^void squeue_poke/,/^}/s/spin_lock(&sq->lock);/return;/
bytes not returned@inline@plain@bytes is@s/atomic_long_sub(bytes, &sq->bytes);/(void)bytes;/
limit on length ignored@inline@plain@nodes waited@s/squeue_len(sq) >= READ_ONCE(limits->max_len)/false/
node read after it was processed@inline@asan@heap-use-after-free@s/^\t\tsq->batches++;/\t\tsq->batches += batch->next != batch;/
counter written without the lock@inline@tsan@data race@/^static void squeue_release/,/^}/s/^\t\tspin_unlock(&sq->lock);/&\n\t\tsq->len_max++;/
no barrier before it sleeps@thread@plain@stranded@/^static void squeue_idle/,/^}/s/smp_mb();/barrier();/
no look before it sleeps@thread@plain@stranded@/^static void squeue_idle/,/^}/s/if (!squeue_has_work(sq))/if (true)/
state set after the flag@thread@plain@stranded|does not say so@/^static void squeue_idle/,/^}/s/set_current_state(TASK_IDLE);//;/^static void squeue_idle/,/^}/s/WRITE_ONCE(sq->asleep, true);/&\n\tfor (int i = 0; i < 100; i++)\n\t\tcpu_relax();\n\tset_current_state(TASK_IDLE);/
state set after the look@thread@plain@stranded|does not say so|wakeups is@/^static void squeue_idle/,/^}/s/set_current_state(TASK_IDLE);//;/^static void squeue_idle/,/^}/s/if (!squeue_has_work(sq))/& {set_current_state(TASK_IDLE);/;/^static void squeue_idle/,/^}/s/schedule();/&}/
flag not set@thread@plain@stranded@/^static void squeue_idle/,/^}/s/WRITE_ONCE(sq->asleep, true);//
flag left set@thread@plain@says that it sleeps@/^static void squeue_idle/,/^}/s/WRITE_ONCE(sq->asleep, false);//
flag not cleared by who wakes@thread@plain@wakeups is@s/xchg(&sq->asleep, false)/READ_ONCE(sq->asleep)/
nobody wakes it@thread@plain@stranded@s/wake_up_process(sq->thread);//
state left as it was@thread@plain@in state@/^static void squeue_idle/,/^}/s/__set_current_state(TASK_RUNNING);//
pending forgotten@thread@plain@stranded@s/return sq->pending || /return /
post not counted@thread@plain@queued is|were processed|nodes waited@/^void squeue_post/,/^}/s/atomic_long_inc(&sq->queued);//
producer drains@thread@plain@not the owner@/^void squeue_poke/,/^}/s/if (sq->thread)/if (false)/
BH enabled in a turn@thread@plain@BH enabled@/^void squeue_turn/,/^}/s/local_bh_\(dis\|en\)able();//
polls and hogs the CPU@thread@plain@another task wants@s/single_task_running() \&\& !need_resched()/true/
time not counted@thread@plain@busy_ns grew by 0@s/sq->busy_ns += local_clock() - start;/(void)start;/
wakeup not counted@thread@plain@wakeups is@s/atomic_long_inc(&sq->wakeups);//
pending read without being the owner@thread@tsan@data race@/^static void squeue_wake/,/^}/s/if (READ_ONCE/if (!sq->pending \&\& READ_ONCE/
'
# These show only while one CPU stops draining and another adds.
two_cpus='no second look|(no barrier|no look|state|polls).*'

# These show only where memory is not sequentially consistent, or not at all
# but to ThreadSanitizer: nothing for fuzz.
not_by_order='no barrier.*|pending read without being the owner'
# Nothing is lost by these, which the race could see; or it does not do it.
not_by_race='many wait to drain|relieves and does not drain|extra work is free'
# What fuzz says, or the shim, or AddressSanitizer.
noticed='^# (inline|thread) policy: |warning: |ERROR: AddressSanitizer'
schedules=100000

# What Spin says when it did not look everywhere.
cut_short='not completed|depth too small|out of memory'

# model @ its flags @ what Spin must report
models='
squeue@-DBUDGET=1@errors: 0
squeue@-DBUDGET=2@errors: 0
squeue@-DNO_BARRIER@assertion violated ((q_len(incoming)==0)
squeue@-DNO_RECHECK@assertion violated ((q_len(incoming)==0)
squeue@-DNO_CLEAR@assertion violated
squeue-thread@-DBUDGET=1@errors: 0
squeue-thread@-DBUDGET=2@errors: 0
squeue-thread@-DNO_BARRIER@assertion violated ((q_len(incoming)==0)
squeue-thread@-DNO_LOOK@assertion violated ((q_len(incoming)==0)
squeue-thread@-DSTATE_LATE@assertion violated asleep
squeue-thread@-DNO_XCHG@assertion violated (claims==1)
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

# race PROGRAM SECONDS [OPTION...]
race()
{
	program=$1
	duration=$2
	shift 2
	# It ends by itself; what takes a minute longer hangs.
	# shellcheck disable=SC2086 # a command and its option
	TSAN_OPTIONS=halt_on_error=1 $fixed_addresses \
		timeout $((duration + 60)) "$program" -t "$duration" "$@"
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

# place HARNESS POLICY NAME: where this defect is put in, and its log.
place()
{
	echo "$O/defects/$1-$2-$3" | tr ' ;' __
}

# make_defect HARNESS@DEFECT: leaves a program that has it, if it can be compiled;
# and what the generator makes of it, whose schedules do not depend on time.
make_defect()
{
	IFS='@' read -r harness name policy variant _ command <<-END
		$1
	END
	echo "making: $harness with a defect, $policy: $name" >&2
	dir=$(place "$harness" "$policy" "$name")
	case $variant in
	plain) flags= ;;
	tsan) flags=$FLAGS_tsan ;;
	asan) flags=$FLAGS_asan ;;
	esac
	if [ "$harness" = fuzz ]; then
		case $variant in
		asan) variant=points-asan ;;
		*) variant=points flags= ;;
		esac
		flags="$FLAGS_points $flags"
	fi
	mkdir -p "$dir"
	log=$dir/log
	sed "$command" "$source" >"$dir/defect.c"
	# shellcheck disable=SC2086 # flags are many words
	if cmp -s "$source" "$dir/defect.c"; then
		echo "the defect no longer applies to squeue.c: $command" >"$log"
	elif $CC $CFLAGS $flags "$dir/defect.c" "$O/$harness-$variant.o" \
	     "$O/llist-$variant.o" -o "$dir/defect" >"$log" 2>&1 &&
	     [ "$harness" = fuzz ] &&
	     timeout 60 "$dir/defect" -c $schedules >"$log" 2>&1; then
		echo "fuzz did not notice" >>"$log"
	fi
}

# run_defect NAME POLICY VARIANT EXPECTED
run_defect()
{
	if [ "$(nproc)" -lt 2 ] && echo "$1" | grep -qxE "$two_cpus"; then
		number=$((number + 1))
		skipped=$((skipped + 1))
		echo "ok $number - squeue race notices, $2: $1 # SKIP needs two CPUs"
		return
	fi
	echo "running: with a defect, $2: $1" >&2
	dir=$(place torture "$2" "$1")
	log=$dir/log
	status='not ok'
	if ! [ -x "$dir/defect" ]; then
		:
	elif race "$dir/defect" 8 -p "$2" >"$log" 2>&1; then
		echo "the race did not notice" >>"$log"
	elif grep -qE -- "$4" "$log"; then
		status=ok
		grep -E -- "$4" "$log" | head -n 3 >"$log.line"
		mv "$log.line" "$log"
	else
		echo "expected: $4" >>"$log"
	fi
	report "$status" "squeue race ($3) notices, $2: $1" "$log"
}

# run_fuzz VARIANT
run_fuzz()
{
	echo "running: fuzz-$1" >&2
	log=$O/fuzz-$1.log
	status='not ok'
	if timeout 300 "$O/fuzz-$1" -c $schedules >"$log" 2>&1; then
		status=ok
	fi
	report "$status" "squeue fuzz: $1, $schedules schedules" "$log"
}

# report_fuzz_defect NAME POLICY
report_fuzz_defect()
{
	dir=$(place fuzz "$2" "$1")
	log=$dir/log
	status='not ok'
	if [ -x "$dir/defect" ] && ! grep -q 'did not notice$' "$log" &&
	   grep -qE -- "$noticed" "$log"; then
		status=ok
		grep -E -- "$noticed|^# again" "$log" >"$log.line"
		mv "$log.line" "$log"
	fi
	report "$status" "squeue fuzz notices, $2: $1" "$log"
}

# search MODEL@FLAGS@EXPECTED: leaves a log in a directory of its own.
search()
{
	model=${1%%@*}
	flags=${1#*@}
	flags=${flags%%@*}
	echo "running: spin $flags $model.pml" >&2
	dir=$O/spin/$model$flags
	mkdir -p "$dir"
	cp "$model.pml" "$dir"
	(cd "$dir" && spin -a "$flags" "$model.pml" &&
	 $CC -O2 -DSAFETY -DCOLLAPSE pan.c -o pan && ./pan -m100000) \
		>"$dir/log" 2>&1 || echo "status $?" >>"$dir/log"
}

# report_model MODEL FLAGS EXPECTED: what its search has come to.
report_model()
{
	log=$O/spin/$1$2/log
	status='not ok'
	if ! grep -q '^status ' "$log" && grep -qF -- "$3" "$log"; then
		status=ok
	fi
	# A search that was cut short proves nothing.
	if [ "$3" = 'errors: 0' ] && grep -qE "$cut_short" "$log"; then
		status='not ok'
	fi
	grep -E '^status |^spin:|^pan:|errors:|states, stored' "$log" >"$log.line" ||
		cp "$log" "$log.line"
	report "$status" "$1 model $2: $3" "$log.line"
}

count()
{
	printf '%s' "$1" | grep -c .
}

if ! command -v spin >/dev/null; then
	echo "run-tests.sh: spin is not installed; try: apt install spin" >&2
	exit 1
fi

case $seconds in
--search) search "$2"; exit ;;
--defect) make_defect "$2"; exit ;;
esac

by_race=$(printf '%s' "$defects" | grep -vE "^($not_by_race)@")
by_order=$(printf '%s' "$defects" | grep -vE "^($not_by_order)@")

# side_by_side MODE: this script, for each line of stdin.
side_by_side()
{
	tr '\n' '\0' | xargs -0 -n 1 -P "$(nproc)" "./${0##*/}" "$1"
}

echo 'TAP version 13'
echo "1..$((5 + $(count "$by_race") + $(count "$by_order") + $(count "$models")))"

for variant in plain tsan asan; do
	run_race "$variant"
done
for variant in points points-asan; do
	run_fuzz "$variant"
done
rm -rf "$O/defects"
{
	printf '%s\n' "$by_order" | grep . | sed 's/^/fuzz@/'
	printf '%s\n' "$by_race" | grep . | sed 's/^/torture@/'
} | side_by_side --defect
while IFS='@' read -r name policy _; do
	[ -z "$name" ] || report_fuzz_defect "$name" "$policy"
done <<END
$by_order
END
while IFS='@' read -r name policy variant expected _; do
	[ -z "$name" ] ||
		run_defect "$name" "$policy" "$variant" "$expected"
done <<END
$by_race
END
# A search has one thread, and no result of one depends on time.
rm -rf "$O/spin"
printf '%s' "$models" | grep . | side_by_side --search
while IFS='@' read -r model flags expected; do
	[ -z "$model" ] || report_model "$model" "$flags" "$expected"
done <<END
$models
END

echo "# $((number - failed - skipped)) passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
