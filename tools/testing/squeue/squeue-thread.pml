/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Spin model of how the thread of a squeue goes to sleep and is woken, in
 * kernel/locking/squeue.c: every interleaving of three producers, the thread,
 * and somebody who wakes it for nothing, on a machine with store buffers
 * (x86-TSO).  squeue.pml is the model of the other policy.
 *
 * The thread's plain stores, to its state and to @asleep, wait in the buffer
 * of its CPU, unseen by the others, while it goes on and loads; the process
 * "memory" carries them out one by one at any time later.  smp_mb() and the
 * locked instructions of the thread wait for that.  Producers have no buffer:
 * what they do to the shared variables are loads and locked instructions.
 * The store of wake_up_process() is made under the lock of the run queue,
 * under which schedule() looks at the state, too; when it comes late all the
 * same, because the thread found work and did not sleep, it is a wake-up for
 * nothing.
 *
 * The lock of the squeue is left out, as it is never contended here, except
 * that taking it empties the buffer.
 *
 * Proved when the search ends without an error:
 *  - when all is done and quiet, no node is left on the squeue, and the thread
 *    sleeps and says so: the next producer would wake it;
 *  - the nodes of each producer are processed in order, each once;
 *  - of the producers that see one flag, one wakes the thread.
 *
 * -DBUDGET=n sets limits->budget.  Four defects can be put in, and then the
 * search must end with an error: -DNO_BARRIER takes the smp_mb() out of
 * squeue_idle(), -DNO_LOOK the look after the flag, -DSTATE_LATE sets the
 * state after the flag (and before the look), -DNO_XCHG makes the producer
 * look at the flag, and clear it, in two steps.
 *
 * run-tests.sh runs all of these.
 */

#ifndef BUDGET
#define BUDGET	2
#endif

#define NODES	5		/* two of two producers, one of the third */

#define node(producer, seq)	((producer) * 4 + (seq))
#define producer_of(n)		((n) / 4)
#define seq_of(n)		((n) % 4)

mtype = { STATE, ASLEEP };

/* Oldest first; that the code reverses a list for this is not modelled. */
chan incoming = [NODES] of { byte };
chan pending = [NODES] of { byte };

/* The thread's store buffer.  No barrier is further away than three stores. */
chan buffer = [3] of { mtype, bool };

bool running = true;		/* the thread's state, in memory */
bool asleep;			/* in memory */
bool off_cpu;			/* the thread is inside schedule(), for good */

byte claims;			/* producers that saw the flag, since it was set */
byte seen[3];			/* by producer: the last that was processed */

byte producing = 3;		/* producers under way */
byte spurious = 1;		/* wake-ups for nothing that may still come */

inline carry_out(where, value)
{
	if
	:: where == STATE -> running = value
	:: where == ASLEEP ->
		asleep = value;
		/* A new sleep, for one of the producers to end. */
		if
		:: value -> claims = 0
		:: else
		fi
	fi;
	where = 0;
	value = false
}

/* What a locked instruction, or smp_mb(), does to the thread's buffer. */
inline drain_buffer()
{
	do
	:: len(buffer) > 0 -> buffer?where, value; carry_out(where, value)
	:: else -> break
	od
}

inline mb()
{
	d_step { drain_buffer() }
}

inline enqueue(n)
{
	incoming!n
}

inline wake()
{
	running = true
}

inline claim()
{
	claims++;
	assert(claims == 1)
}

inline poke()
{
	if
	:: asleep ->
#ifdef NO_XCHG
		claim();
		asleep = false;
		wake()
#else
		/* xchg() */
		d_step {
			got = asleep;
			asleep = false;
			if
			:: got -> claim()
			:: else
			fi
		};
		if
		:: got -> wake()
		:: else
		fi
#endif
	:: else
	fi;
	got = false
}

/* pid 0: one by one */
active proctype single_producer()
{
	bool got;

	enqueue(node(0, 1));
	poke();
	enqueue(node(0, 2));
	poke();
	producing--
}

/* pid 1: a batch, and one poke for it */
active proctype batch_producer()
{
	bool got;

	enqueue(node(1, 1));
	enqueue(node(1, 2));
	poke();
	producing--
}

/* pid 2: the second to want to wake the thread for what is there */
active proctype last_producer()
{
	bool got;

	enqueue(node(2, 1));
	poke();
	producing--
}

/* pid 3: a signal, or whoever moves the thread to another CPU */
active proctype waker()
{
end:
	do
	:: atomic { spurious > 0 -> spurious--; wake() }
	od
}

#define has_work()	(len(pending) > 0 || len(incoming) > 0)

/* One batch: its lock, its llist_del_all() if need be, and process(). */
inline drain()
{
	d_step {
		drain_buffer();
		do
		:: len(pending) == 0 && len(incoming) > 0 ->
			do
			:: len(incoming) > 0 -> incoming?which; pending!which
			:: else -> break
			od
		:: else -> break
		od;
		which = 0
	};
	d_step {
		do
		:: count < BUDGET && len(pending) > 0 ->
			pending?which;
			assert(seq_of(which) == seen[producer_of(which)] + 1);
			seen[producer_of(which)] = seq_of(which);
			count++
		:: else -> break
		od;
		which = 0;
		count = 0
	}
}

inline set_state(value)
{
	buffer!STATE, value
}

/* The scheduler locks the run queue before it looks at the state. */
inline schedule()
{
	mb();
	if
	:: running
	:: atomic { !running -> off_cpu = true };
end_sleep:
		atomic { running -> off_cpu = false }
	fi
}

/* pid 4 */
active proctype thread()
{
	byte which, count;
	mtype where;
	bool value;

	do
	:: has_work() -> drain()
	:: !has_work() ->
		/* squeue_poll(): it may have looked at any time. */
		if
		:: has_work() -> goto again
		:: true
		fi;
#ifndef STATE_LATE
		set_state(false);
		mb();
#endif
		buffer!ASLEEP, true;
#ifdef STATE_LATE
		set_state(false);
		mb();
#endif
#ifndef NO_BARRIER
		mb();
#endif
#ifdef NO_LOOK
		schedule();
#else
		if
		:: !has_work() -> schedule()
		:: else
		fi;
#endif
		set_state(true);
		buffer!ASLEEP, false;
again:
		skip
	od
}

/* pid 5: carries out what is in the store buffer */
active proctype memory()
{
	mtype where;
	bool value;

end:
	do
	:: d_step {
		len(buffer) > 0 ->
		buffer?where, value;
		carry_out(where, value)
	   }
	od
}

/* pid 6: looks once all is quiet.  If it never can, Spin reports that, too. */
active proctype observer()
{
	atomic {
		producing == 0 && off_cpu && !running ->
		assert(len(incoming) == 0 && len(pending) == 0);
		assert(asleep);
		assert(seen[0] == 2 && seen[1] == 2 && seen[2] == 1)
	}
}
