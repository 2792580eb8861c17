#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# test-mutants.sh [NAME...] - put one defect at a time into the kernel, and see
# that the selftest which is there for it notices; TAP on stdout.
#
# A mutant has to boot, and then its test has to fail: by itself, or because the
# guest oopses, warns or hangs. NAME is a part of a defect's name, by default
# all are tried, which takes about a minute each. What needs no guest to be
# noticed is in tools/testing/squeue/run-tests.sh.
#
# The tree is left alone: the defect is mounted over one file, and a copy of the
# build directory over the build directory, in a mount namespace that ends with
# this script. Needs root for that.
set -eu
. "$(dirname "$0")/lib.sh"

# name @ organisation[ variant] @ test @ file in the kernel tree @ the defect, for sed.
# For abuse and disturbed these are what makes them fail whatever they meet; most
# of what they look for is a matter of luck. That a packet which is late is nothing
# to the next life of its socket is ensured in two places, so no single defect
# shows it. A push that is forced was tried, and not noticed by output; nor was it by
# memory that a writer is not woken while memory is short. And a poke that is lost is
# no stall in ConnP-L, for the peer's loss probe brings the next one: that pokes are
# not lost is for tools/testing/squeue to show.
defects='
a SYN is processed before ours is sent@connp-t@crossing@net/ipv4/tcp_connp_msg.c@s/call->fn != tcp_connp_connect_fn/true/
a TIME_WAIT does not wait for what is queued@connp-l@fin@net/ipv4/tcp_connp_input.c@/^bool tcp_connp_input_pending/,/^}/s/return /return false; &/
a FIN behind a close is lost@connp-t@lives@net/ipv4/tcp_connp_input.c@/^bool tcp_connp_input_pending/,/^}/s/return /return false; &/
an opened window is not announced@connp-t@output@net/ipv4/tcp_connp_output.c@/^void tcp_connp_release_cb/,/^}/s/__tcp_cleanup_rbuf(sk, 1);/;/
who leaves its group alive is still counted@connp-l@abuse@net/ipv4/tcp_connp.c@/^void tcp_connp_unbind/,/^}/s/tcp_connp_forget(sk);/sk->sk_connp = NULL;/
who is killed lives@connp-l@disturbed@net/ipv4/tcp.c@s/if (!tcp_connp_abort(sk, tcp_abort_owned, err))/if (false)/
a new address without a new place in the table@connp-l@dynaddr@net/ipv4/af_inet.c@s/return __sk_prot_rehash(sk);/return 0;/
who has ended is still counted@connp-l@storm@net/ipv4/tcp_connp.c@/^void tcp_connp_forget/,/^}/s/tcp_connp_set_group(sk, NULL);/sk->sk_connp = NULL;/
calls are not counted@connp-t@cycles@net/ipv4/tcp_connp_msg.c@s/atomic_long_inc(&g->calls);//
a drain waits for owners@connp-l@neighbour@net/ipv4/tcp_connp_input.c@s/owned = sock_owned_by_user(sk);/&\n\tfor (int i = 0; owned \&\& i < 100000; i++)\n\t\tcpu_relax();/
a drain waits for an owner for ever@connp-t@userfault@net/ipv4/tcp_connp_input.c@s/owned = sock_owned_by_user(sk);/&\n\twhile (READ_ONCE(sk->sk_lock.owned))\n\t\tcpu_relax();/
the hash is no secret@connp-l@hash@net/ipv4/tcp_connp.c@s/tcp_connp_of_bucket(sk->sk_hash);/\&tcp_connp_groups[(ntohs(sk->sk_dport) + sk->sk_num) \& (tcp_connp_nr_groups - 1)];/
neighbours in the table share a group@connp-l@hash@net/ipv4/tcp_connp.c@s/jhash_1word(hash & tcp_hashinfo.ehash_mask,/max((hash \& tcp_hashinfo.ehash_mask) \/ ((tcp_hashinfo.ehash_mask + 1) \/ tcp_connp_nr_groups),/;s/^[\t ]*tcp_connp_secret) &/0U) \&/
a table of one bucket is one group@connp-l@netns@net/ipv4/tcp_connp.c@s/reciprocal_scale(sk->sk_hash,/min(0U,/
bytes are not given back@connp-l@network.sh@net/ipv4/tcp_connp_input.c@s/bytes += skb->truesize;/bytes += skb->len;/
BH is enabled while a call catches up, amid packets@connp-t@fuzz@net/ipv4/tcp_connp_msg.c@/^static void tcp_connp_catch_up/,/^}/s/lock_bh(/lock(/
threads do not come back with their CPU@connp-t@hotplug@net/ipv4/tcp_connp_thread.c@/^static int tcp_connp_cpu_online/,/^}/s/tcp_connp_place(TCP_CONNP_NO_CPU);//
threads are real-time tasks@connp-t@starve@net/ipv4/tcp_connp_thread.c@s/\.sched_policy\t= SCHED_BATCH,/.sched_policy = SCHED_FIFO, .sched_priority = 90,/
nice does nothing@connp-t@threads@net/ipv4/tcp_connp_thread.c@s/\.sched_nice\t= tcp_connp_nice,/.sched_nice = 0,/
a queue has no bound@connp-l@limits@kernel/locking/squeue.c@s/squeue_len(sq) >= READ_ONCE(limits->max_len)/false/
one connection may have all of a queue@connp-t@limits@net/ipv4/tcp_connp_input.c@s/unlikely(tcp_connp_crowds(sk, g))/false/
queued packets keep their device@connp-l@device@net/ipv4/tcp_connp_input.c@s/^\tskb->sk = sk;/&\n\tdev_get_by_index(sock_net(sk), skb->skb_iif);/
packets keep their device while they are queued@connp-t@device@net/ipv4/tcp_connp_input.c@s/^\tskb->sk = sk;/&\n\tskb->dev = dev_get_by_index(sock_net(sk), skb->skb_iif);/;s/^\t\t\tskb->sk = NULL;/&\n\t\t\tdev_put(skb->dev);\n\t\t\tskb->dev = NULL;/
nobody can be killed@connp-l@storm@net/ipv4/tcp_diag.c@s/err = sock_diag_destroy(sk, ECONNABORTED);/err = -ENOENT;/
signatures do not matter@connp-l debug@fuzz@net/ipv4/tcp.c@s/if (likely(!md5_location \&\& !aoh)) {/if (sk)\n\t\treturn SKB_NOT_DROPPED_YET;\n\t&/
who dumps a connection is not told all@connp-t@order@net/ipv4/tcp.c@s/tcp_connp_flush_backlog(sk);//
last come, first served@connp-t@order@kernel/locking/squeue.c@s/first = llist_reverse_order(first);//
one wake-up in a thousand is lost@connp-t@pingpong@kernel/locking/squeue.c@/^static void squeue_wake/,/^}/s/atomic_long_inc(&sq->wakeups);/&\n\t\tif (!(atomic_long_read(\&sq->wakeups) % 1000))\n\t\t\treturn;/
all may read the counters@connp-l@groups@net/ipv4/tcp_connp_proc.c@s/0400/0444/
a timer goes past the queue@connp-t@netns@net/ipv4/tcp_connp_msg.c@/^bool tcp_connp_post(/,/^}/s/!g ||/!g || kind == TCP_CONNP_RETRANS ||/
relief has no bound@connp-l@sysctl.sh@net/ipv4/tcp_connp_lock.c@s/\.extra2\t\t= (void \*)&tcp_connp_max_relief,//
a budget has no bound@connp-l@sysctl.sh@net/ipv4/tcp_connp_proc.c@s/\.extra2\t\t= (void \*)&tcp_connp_max_budget,//
a share has no bound@connp-t@sysctl.sh@net/ipv4/tcp_connp_proc.c@/"share_packets"/,/}/s/\.extra2\t\t= (void \*)&tcp_connp_max_len,//
more that is to come is not waited for@connp-t@output@net/ipv4/tcp_connp_output.c@s/nonagle = TCP_NAGLE_CORK;/nonagle = 0;/
a long backlog is worked off at once@connp-t@userfault@net/ipv4/tcp_connp_input.c@s/\(TCP_CONNP_PART\)\t32/\1\t100000/
a long backlog leaves a short one nothing@connp-t@userfault@net/ipv4/tcp_connp_input.c@s/sq->extra < READ_ONCE(tcp_connp_limits.budget) ?/!sq->extra ?/;s/TCP_CONNP_PART : 1);/TCP_CONNP_PART : 0);/
packets of a backlog are no work@connp-t@userfault@net/ipv4/tcp_connp_input.c@s/sq->extra += n - brought;/;/
a reader works off its backlog@connp-t@userfault@net/ipv4/tcp_connp_input.c@/^bool tcp_connp_leaves_backlog/,/^}/s/return /return false \&\& /
a retransmission does not wait for the rest@connp-t@userfault@net/ipv4/tcp_connp_input.c@/^static void tcp_connp_run(/,/^}/s/tcp_connp_release_cb(sk);/tcp_release_cb(sk);/
who has ended with little memory is still counted@connp-l@memory@net/ipv4/tcp_connp.c@/^void tcp_connp_forget/,/^}/s/tcp_connp_set_group(sk, NULL);/sk->sk_connp = NULL;/
one lock for the group and its part of the table@connp-l@storm@net/ipv4/tcp_connp.c@s/->ehash_lock : NULL;/->sq.lock : NULL;/
a crowd that waits stays in its group@connp-t@groups@net/ipv4/tcp_connp.c@s/return unlikely(n > TCP_CONNP_WAITERS_MAX);/return false;/
who is sent signals stays in its group@connp-l@groups@net/ipv4/tcp_connp.c@s/unlikely(sock_flag(sk, SOCK_FASYNC))/false/
the namespace of a user has groups@connp-t@groups@net/ipv4/tcp_connp.c@s/sock_net(sk)->user_ns == &init_user_ns &&//
a small buffer has no room for an ACK@connp-l@shrink@net/ipv4/tcp_connp_input.c@/^static bool tcp_connp_tight/,/^}/s/return /return false \&\& /
what came before it left its group is for the next life@connp-t@lives@net/ipv4/tcp_connp_msg.c@/^static void tcp_connp_flush_left/,/^}/s/tcp_connp_flush_all();/;/
who is killed before it is accepted has an owner@connp-t@lives@net/ipv4/tcp_connp_msg.c@s/return sk->sk_socket &&/return/
a cork that comes later holds what was before@connp-t@output@net/ipv4/tcp_connp_output.c@s/ & ~TCP_NAGLE_CORK//
references count as packets@connp-t@limits@net/ipv4/tcp_connp_input.c@s/return atomic_read(&sk->sk_connp_queued)/return refcount_read(\&sk->sk_refcnt)/
an orphan waits for the packets of others@connp-t@lives@net/ipv4/tcp_connp_input.c@/^bool tcp_connp_input_pending/,/^}/s/return /return squeue_len(\&sk->sk_connp->sq) || /
a drain warns of a machine that goes down@connp-t@reboot@net/ipv4/tcp_connp_input.c@s/^\tunsigned int nodes = 0;/&\n\n\tWARN_ON_ONCE(system_state > SYSTEM_RUNNING);/
'

# Only this namespace is to see the mutants.
if [ -z "${CONNP_MUTANTS:-}" ]; then
	[ "$(id -u)" = 0 ] || die "needs root, to mount the mutants"
	exec env CONNP_MUTANTS=1 unshare --mount --propagation private "$0" "$@"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
count=0
failed=0

# wanted NAME PART...: is it one of those that were asked for?
wanted()
{
	name=$1
	shift
	[ $# != 0 ] || return 0
	for part; do
		case $name in
		*"$part"*) return 0 ;;
		esac
	done
	return 1
}

# guest COMMAND...: its status is the command's, or the rig's; with $append as the
# kernel's.
append=
guest()
{
	"$TOP/scripts/guest-run.py" --org "$ORG" ${VARIANT:+--variant "$VARIANT"} \
		--append "$append" --timeout 300 -- "$@" >"$work/log" 2>&1
}

# passes TEST: that of reboots has guests of its own.
passes()
{
	if [ "$1" = reboot ]; then
		"$TOP/scripts/test-reboot.sh" "$ORG" >"$work/log" 2>&1
	else
		append=
		# Which wants to have all in one group.
		[ "$1" != neighbour ] || append=tcp_connp.groups=1
		guest env FUZZ_SEED="$fuzz_seed" "/selftests/$1"
	fi
}

# says_why STATUS: that of a test which did not pass is one of failure, not of a
# test that was skipped, or of a rig which cannot run it.
says_why()
{
	[ "$1" -ge 128 ] ||
		grep -qE '^(not ok|Bail out)|kernel fault|did not end|no exit status|success token' \
			"$work/log"
}

# noticed TEST FILE SED: build the mutant of $ORG's $VARIANT and run its test;
# says what is wrong, if anything is.
noticed()
{
	cp "$LINUX/$2" "$work/source"
	sed -i "$3" "$work/source"
	if cmp -s "$LINUX/$2" "$work/source"; then
		echo "sed changes nothing in $2"
		return 1
	fi
	kernel=$(org_builddir "$ORG" "$VARIANT")
	if ! [ -e "$kernel/arch/x86/boot/bzImage" ] &&
	   ! "$TOP/scripts/kernel.sh" >"$work/log" 2>&1; then
		echo "the kernel does not build without the mutant"
		return 1
	fi
	rm -rf "$work/build"
	cp -a --reflink=auto "$kernel" "$work/build"
	mount --bind "$work/build" "$kernel"
	mount --bind "$work/source" "$LINUX/$2"
	status=0
	"$TOP/scripts/kernel.sh" >"$work/log" 2>&1 || status=1
	umount "$LINUX/$2"
	if [ $status != 0 ]; then
		echo "the mutant does not build"
	elif ! guest true; then
		echo "the mutant does not boot"
		status=1
	elif passes "$1"; then
		echo "$1 passes"
		status=1
	elif ! says_why $?; then
		echo "$1 neither passes nor fails"
		status=1
	fi
	umount "$kernel"
	return $status
}

build_selftests
make -s -C "$TOP/tools/net/ptcpbench" O="$BUILD/tools" >&2
# The one that found such a defect.
fuzz_seed=0x3c9e76017a6ec56f

echo "TAP version 13"
printf '%s\n' "$defects" >"$work/defects"
while IFS=@ read -r name built test file defect; do
	if [ -z "$name" ] || ! wanted "$name" "$@"; then
		continue
	fi
	count=$((count + 1))
	say "$built: $name"
	export ORG="${built% *}"
	VARIANT=${built#"$ORG"}
	export VARIANT="${VARIANT# }"
	if why=$(noticed "$test" "$file" "$defect"); then
		echo "ok $count - $built, $name: $test fails"
		grep -E '^not ok|BUG|WARNING|guest-run' "$work/log" |
			head -n 3 | sed 's/^/# /'
	else
		failed=$((failed + 1))
		echo "not ok $count - $built, $name: $why"
		tail -n 20 "$work/log" | sed 's/^/# /'
	fi
done <"$work/defects"
echo "1..$count"
[ $failed = 0 ]
