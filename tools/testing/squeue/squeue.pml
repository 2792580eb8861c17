/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Spin model of the handshake in kernel/locking/squeue.c: every interleaving
 * of two producers, one that enters and leaves, and the one that answers
 * policy->kick(), on a machine with store buffers (x86-TSO).
 *
 * Under TSO two stores matter: the one that unlocks and, before it, the one
 * that clears @relief.  They may sit in their CPU's buffer, unseen by the others,
 * while that CPU goes on and loads.  unlock() and clear_relief() therefore only
 * note the store, and the process "memory" carries it out at any time later.  A
 * locked instruction (cmpxchg, xchg) and smp_mb() wait for it.  Nothing else
 * needs a buffer: the list is only written by locked instructions, @pending only
 * by the holder, and stores stay in order.
 *
 * Whether a poke that finds the lock held waits, to relieve the holder, is left
 * open here: what is proved does not depend on how long the queue has to be.
 *
 * Proved when the search ends without an error:
 *  - when all is done and quiet, no node is left on the squeue;
 *  - never two are inside;
 *  - the nodes of each producer are processed in order, each once.
 *
 * -DBUDGET=n sets limits->budget.  Three defects can be put in, and then the
 * search must end with an error: -DNO_BARRIER takes the smp_mb() out of
 * squeue_release(), -DNO_RECHECK the whole look after the unlock, and -DNO_CLEAR
 * leaves @relief set.
 *
 * run-tests.sh runs all of these.
 */

#ifndef BUDGET
#define BUDGET	2
#endif

#define NODES	5		/* two of each producer, one of the enterer */

#define node(producer, seq)	((producer) * 4 + (seq))
#define producer_of(n)		((n) / 4)
#define seq_of(n)		((n) % 4)

/* Oldest first; that the code reverses a list for this is not modelled. */
chan incoming = [NODES] of { byte };
chan pending = [NODES] of { byte };

byte lock;			/* in memory: 0, or the holder's pid + 1 */
bool unlocking[6];		/* by pid: the store of 0 is in the buffer */
bool relief;			/* in memory */
bool clearing[6];		/* by pid: so is that of false */
byte relieving;			/* who wait */

byte inside;
byte seen[3];			/* by producer: the last that was processed */

bool kick_wanted;
bool kicker_busy;
byte running = 3;		/* producers and enterers under way */

/* What a locked instruction, or smp_mb(), does to the CPU's buffer. */
inline drain_buffer()
{
	if
	:: clearing[_pid] -> clearing[_pid] = false; relief = false
	:: else
	fi;
	if
	:: unlocking[_pid] -> unlocking[_pid] = false; lock = 0
	:: else
	fi
}

inline unlock()
{
	d_step {
		assert(lock == _pid + 1 && !unlocking[_pid]);
		unlocking[_pid] = true
	}
}

/* A load, which sees the CPU's own buffer, and a cmpxchg if that is promising. */
inline trylock()
{
	got = (lock == 0 || unlocking[_pid]);
	if
	:: got ->
		d_step {
			drain_buffer();
			if
			:: lock == 0 -> lock = _pid + 1
			:: else -> got = false
			fi
		}
	:: else
	fi
}

inline wait_lock()
{
	d_step { drain_buffer() };
	atomic { lock == 0 -> lock = _pid + 1 }
}

inline clear_relief()
{
#ifndef NO_CLEAR
	clearing[_pid] = true
#else
	skip
#endif
}

/* Of a holder, which sees what its own buffer holds. */
#define sees_relief	(relief && !clearing[_pid])

/* test_and_set_bit(), as in tasklet_schedule() */
inline kick()
{
	d_step { drain_buffer(); kick_wanted = true }
}

inline enqueue(n)
{
	d_step { drain_buffer(); incoming!n }
}

/* Two steps, so that somebody else could come in between. */
inline process_batch()
{
	d_step {
		inside++;
		assert(inside == 1);
		count = 0;
		do
		:: count < BUDGET && left > 0 && len(pending) > 0 ->
			pending?which;
			assert(seq_of(which) == seen[producer_of(which)] + 1);
			seen[producer_of(which)] = seq_of(which);
			count++;
			left--
		:: else -> break
		od;
		which = 0;
		count = 0
	};
	inside--
}

/* Processes at most @left nodes. */
inline drain()
{
	do
	:: left == 0 -> break
	:: else ->
		if
		:: len(pending) == 0 ->
			/* llist_del_all() is an xchg(). */
			d_step {
				drain_buffer();
				do
				:: len(incoming) > 0 ->
					incoming?which;
					pending!which
				:: len(incoming) == 0 -> break
				od;
				which = 0
			}
		:: len(pending) > 0
		fi;
		if
		:: len(pending) == 0 -> break
		:: len(pending) > 0 -> process_batch()
		fi
	od;
	skip			/* no jump into a caller's d_step */
}

/* squeue_release(), of at most @left nodes */
inline release()
{
	do
	:: true ->
		drain();
		d_step {
			relieved = sees_relief;
			cut_short = !relieved &&
				    (len(pending) > 0 ||
				     (left == 0 && len(incoming) > 0))
		};
		unlock();
		if
		:: cut_short -> kick(); break
		:: relieved -> break
		:: else
		fi;
#ifdef NO_RECHECK
		break;
#endif
#ifndef NO_BARRIER
		d_step { drain_buffer() };
#endif
		if
		:: len(incoming) == 0 -> break
		:: len(incoming) > 0
		fi;
		trylock();
		if
		:: got
		:: else -> break
		fi
	od;
	skip;
	d_step { cut_short = false; relieved = false; got = false; left = 0 }
}

inline poke()
{
	trylock();
	if
	:: got -> left = BUDGET; release()
	:: else
	:: !got ->
		/* xchg() */
		d_step {
			drain_buffer();
			relieved = !relief;
			relief = true
		};
		if
		:: relieved ->
			d_step { relieved = false; relieving++; assert(relieving == 1) };
			wait_lock();
			d_step { relieving--; clear_relief(); left = BUDGET };
			release()
		:: else
		fi
	fi
}

#define LOCALS	byte left, count, which; bool got, cut_short, relieved

/* pid 0: one by one */
active proctype single_producer()
{
	LOCALS;

	enqueue(node(0, 1));
	poke();
	enqueue(node(0, 2));
	poke();
	running--
}

/* pid 1: a batch, and one poke for it */
active proctype batch_producer()
{
	LOCALS;

	enqueue(node(1, 1));
	enqueue(node(1, 2));
	poke();
	running--
}

/* pid 2: a system call, which brings work of its own while it is inside */
active proctype enterer()
{
	LOCALS;

	trylock();
	if
	:: got
	:: else -> wait_lock()
	fi;
	left = BUDGET;
	drain();
	d_step { inside++; assert(inside == 1) };
	enqueue(node(2, 1));
	kick();			/* what squeue_poke() does inside a squeue */
	inside--;
	left = (sees_relief -> 0 : BUDGET);
	release();
	running--
}

/* pid 3: the tasklet */
active proctype kicker()
{
	LOCALS;

end:
	do
	:: atomic { kick_wanted -> kick_wanted = false; kicker_busy = true };
		poke();
		kicker_busy = false
	od
}

/* The oldest store first. */
#define carry_out(pid)							\
	d_step {							\
		clearing[pid] -> clearing[pid] = false; relief = false	\
	}								\
	:: d_step {							\
		unlocking[pid] && !clearing[pid] ->			\
		unlocking[pid] = false; lock = 0			\
	}

/* pid 4: carries out what is in the store buffers */
active proctype memory()
{
end:
	do
	:: carry_out(0)
	:: carry_out(1)
	:: carry_out(2)
	:: carry_out(3)
	od
}

/* pid 5: looks once all is quiet.  If it never can, Spin reports that, too. */
active proctype observer()
{
	atomic {
		running == 0 && !kick_wanted && !kicker_busy && lock == 0 ->
		assert(!relief && relieving == 0);
		assert(len(incoming) == 0 && len(pending) == 0);
		assert(seen[0] == 2 && seen[1] == 2 && seen[2] == 1)
	}
}
