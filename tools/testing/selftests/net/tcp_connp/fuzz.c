// SPDX-License-Identifier: GPL-2.0
/*
 * A generator of TCP segments against a TUN device, and of calls on the other
 * ends of its connections: right ones, so that each state is reached, and bent
 * ones in each of them (fuzz_wire.h, fuzz_calls.h).
 *
 * A run is many short rounds. A round opens listeners and a few connections
 * from both sides, and then makes steps: in each some packets arrive and some
 * calls are made, one after the other or, by another thread, at the same time;
 * then what left is read, and tells the peers where our ends are. When a round
 * ends, all sockets end, and then:
 *  - every byte that was read is the one that its place in the stream calls for,
 *    and so is every byte that left, in well-formed segments with good checksums;
 *  - no socket is left, no connection is in a group, nothing is queued.
 * In some rounds segments are signed, by TCP's MD5 option or by AO (fuzz_mac.h):
 * then all that leaves has a right signature, and in some of these rounds, where
 * no socket is without its key, nothing is read that came without one.
 * The kernel's own checks are the third judge: a guest with a warning or a
 * report of KASAN or lockdep fails by itself.
 *
 * All decisions come from the seed, the number of the round, the step and the
 * item: a round is made again by FUZZ_SEED=SEED:ROUND, which fails tell, and
 * differs only in what the kernel chooses (initial numbers, ports) and in when.
 * Before any others come the rounds of fuzz.seeds, which were worth keeping; not
 * all of them in the short form.
 *
 *	FUZZ_SEED=SEED[:ROUND]	not a random seed; only this round
 *	FUZZ_SECONDS=N		how long, without the kept ones
 *	FUZZ_ROUNDS=N		so many rounds, besides those with keys, if there is time
 *	FUZZ_TRACE=1		say all that arrives, leaves and is called
 *
 * In a run of a minute or more, rounds that made a counter of the kernel's MIB
 * move which none had before are told, to be kept.
 */
#include <libgen.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/random.h>

#include "fuzz_calls.h"

#define CONNS		12
#define PACKETS		4
#define CALLS		4
#define STEPS_MAX	80
#define ITEM_PACKETS	100
#define ITEM_CALLS	200
#define ITEM_DRAWS	300
#define ITEM_WIRE	400
#define ITEM_KEYS	500
#define COUNTERS	600
#define DEFAULT_SECONDS	4
#define DEBUG_SECONDS	15
/* For a number of rounds that was asked for, on however slow a machine. */
#define ROUNDS_SECONDS	180
#define TELL_SECONDS	60
/* One of a few rounds has keys, by its number; others' draws are as without. */
#define KEYS_EVERY	4
#define KEYS_ROUND	0x1000000
#define TRIES		200

/* Settings of the namespace; the first value is the one of most rounds. */
static struct setting {
	const char *name;
	const char *values[3];
	int fd;
} settings[] = {
	{ .name = "tcp_syncookies", .values = { "1", "0", "2" } },
	{ .name = "tcp_timestamps", .values = { "1", "0", "2" } },
	{ .name = "tcp_sack", .values = { "1", "0", "1" } },
	{ .name = "tcp_window_scaling", .values = { "1", "0", "1" } },
	{ .name = "tcp_fastopen", .values = { "1543", "3", "0" } },
	{ .name = "tcp_ecn", .values = { "2", "1", "0" } },
	{ .name = "tcp_rfc1337", .values = { "0", "1", "0" } },
	{ .name = "tcp_abort_on_overflow", .values = { "0", "1", "0" } },
	{ .name = "tcp_rto_min_us", .values = { "5000", "1000", "200000" } },
	{ .name = "tcp_recovery", .values = { "1", "0", "1" } },
	{ .name = "tcp_early_demux", .values = { "1", "0", "1" } },
	{ .name = "tcp_shrink_window", .values = { "0", "1", "0" } },
	{ .name = "tcp_mtu_probing", .values = { "0", "1", "2" } },
	{ .name = "tcp_migrate_req", .values = { "0", "1", "0" } },
	{ .name = "tcp_dsack", .values = { "1", "0", "1" } },
	{ .name = "tcp_tw_reuse", .values = { "2", "1", "0" } },
	{ .name = "tcp_frto", .values = { "2", "0", "2" } },
	{ .name = "tcp_rmem", .values = { "4096 131072 6291456",
					  "4096 8000 20000",
					  "4096 131072 131072" } },
	/* All reset that the peer resets, so that a round can end. */
	{ .name = "tcp_challenge_ack_limit", .values = { "2147483647" } },
	{ .name = "tcp_invalid_ratelimit", .values = { "0" } },
	{ .name = "tcp_fin_timeout", .values = { "1" } },
};

/* What the kernel has counted in this namespace. */
struct counter {
	char name[40];
	unsigned long value;
};

static struct counter counters[COUNTERS];
static unsigned int nr_counters, moved;

static struct fuzz_conn conns[CONNS];
static struct fuzz_history histories[CONNS];
static unsigned int nr_conns;
static unsigned short next_port;
static uint64_t seed, round_seed;
static unsigned int noise;

/* A row of /proc/net/tcp or tcp6. */
struct row {
	bool v6;
	unsigned short ours, theirs;
	int state;
};

static struct row rows[256];
static unsigned int nr_rows;

static unsigned long reached[FUZZ_STATES];
static struct {
	unsigned long rounds, steps, gentle, stubborn, strict;
	unsigned long keys[FUZZ_AUTHS];
} stats;

static long base_conns;
static bool tell;

/* The thread that makes calls while packets arrive. */
static struct {
	pthread_t thread;
	sem_t begin, end;
	struct fuzz_call calls[CALLS];
	unsigned int nr;
} worker;

static void make_calls(void)
{
	unsigned int i;

	for (i = 0; i < worker.nr; i++)
		fuzz_call(round_seed, &worker.calls[i]);
}

static void *work(void *unused)
{
	(void)unused;
	for (;;) {
		while (sem_wait(&worker.begin))
			;
		make_calls();
		sem_post(&worker.end);
	}
	return NULL;
}

/* The newest, as ports of peers are used again only by clones. */
static struct fuzz_peer *find_peer(unsigned short ours, unsigned short theirs)
{
	unsigned int i;

	for (i = nr_conns; i--; )
		if (conns[i].peer.port == theirs &&
		    (conns[i].peer.ours == ours || !conns[i].peer.ours))
			return &conns[i].peer;
	return NULL;
}

static struct fuzz_conn *new_conn(enum connp_family family)
{
	struct fuzz_conn *conn;

	if (nr_conns == CONNS)
		return NULL;
	conn = &conns[nr_conns];
	memset(conn, 0, sizeof(*conn));
	conn->peer.history = &histories[nr_conns++];
	memset(conn->peer.history, 0, sizeof(*conn->peer.history));
	conn->peer.family = family;
	conn->peer.port = next_port++;
	conn->peer.isn = fuzz_draw_isn();
	conn->peer.next = conn->peer.isn + 1;
	conn->peer.clock = fuzz_draw_isn();
	conn->peer.state = TCP_CLOSE;
	if (fuzz_keys.strict)
		conn->peer.signs = fuzz_keys.kind;
	conn->end.fd = -1;
	return conn;
}

/* One that the peer, or our end, is going to begin. */
static void begin_conn(void)
{
	enum connp_family family = fuzz_has_v6 ? fuzz_draw(3) : CONNP_V4;
	bool passive = fuzz_chance(50);
	struct fuzz_conn *conn = new_conn(family);

	if (!conn)
		return;
	if (passive) {
		conn->peer.ours = family == CONNP_V4 ? FUZZ_PORT :
						       FUZZ_PORT_DUAL;
		conn->peer.state = TCP_LISTEN;
		conn->peer.signs = fuzz_listeners_sign[family != CONNP_V4];
	} else {
		conn->end.fd = fuzz_socket(family);
		conn->peer.signs = fuzz_keys_begin(conn->end.fd, family);
		conn->end.used = true;
		if (fuzz_chance(30))
			fuzz_set(conn->end.fd);
		fuzz_connect(conn, conn);
		conn->peer.state = TCP_SYN_SENT;
	}
}

/* Give what was accepted its place. */
static void place_accepted(void)
{
	struct fuzz_conn *conn, *clone;
	unsigned int i, a;

	for (a = 0; a < fuzz_nr_accepted; a++) {
		conn = NULL;
		for (i = nr_conns; i-- && !conn; )
			if (conns[i].peer.port == fuzz_accepted[a].port)
				conn = &conns[i];
		if (conn && conn->end.used && nr_conns < CONNS) {
			/* The same two ports again. */
			clone = &conns[nr_conns++];
			*clone = *conn;
			memset(&clone->end, 0, sizeof(clone->end));
			clone->end.fd = -1;
			conn = clone;
		}
		if (!conn || conn->end.fd >= 0 || conn->end.used) {
			close(fuzz_accepted[a].fd);
			continue;
		}
		conn->end.fd = fuzz_accepted[a].fd;
		fuzz_trace("%u: accepted, descriptor %d\n", conn->peer.port,
			   conn->end.fd);
		conn->end.used = true;
	}
	fuzz_nr_accepted = 0;
}

static void scan_file(const char *path, bool v6)
{
	unsigned int ours, theirs, state;
	char line[512], address[33], *end;
	FILE *f = fopen(path, "r");
	struct row *row;
	int words;

	while (f && fgets(line, sizeof(line), f) && nr_rows < ARRAY_SIZE(rows)) {
		if (sscanf(line, " %*d: %*[0-9A-F]:%x %32[0-9A-F]:%x %x", &ours,
			   address, &theirs, &state) != 4)
			continue;
		words = 0;
		for (end = strtok(line, "\n "); end; end = strtok(NULL, "\n "))
			words++;
		row = &rows[nr_rows++];
		*row = (struct row){
			/* But for those that are mapped. */
			.v6 = v6 && strncmp(address + 16, "FFFF0000", 8),
			.ours = ours, .theirs = theirs, .state = state,
		};
		/* A request has no more to tell than its address. */
		if (state == TCP_SYN_RECV && words < 17)
			row->state = FUZZ_REQUEST;
	}
	if (f)
		fclose(f);
}

/* All sockets that are hashed, and what they tell of the states. */
static void scan(void)
{
	struct fuzz_peer *peer;
	unsigned int i;

	nr_rows = 0;
	scan_file("/proc/net/tcp", false);
	scan_file("/proc/net/tcp6", true);
	for (i = 0; i < nr_rows; i++) {
		if (rows[i].state >= FUZZ_STATES)
			continue;
		reached[rows[i].state]++;
		peer = find_peer(rows[i].ours, rows[i].theirs);
		if (peer)
			peer->state = rows[i].state;
	}
}

/* The same of those that we have a descriptor of, which is cheaper. */
static void look_at_ends(void)
{
	struct tcp_info info;
	unsigned int i;
	socklen_t len;

	for (i = 0; i < nr_conns; i++) {
		len = sizeof(info);
		if (conns[i].end.fd < 0 ||
		    getsockopt(conns[i].end.fd, IPPROTO_TCP, TCP_INFO, &info,
			       &len) || info.tcpi_state >= FUZZ_STATES)
			continue;
		reached[info.tcpi_state]++;
		/* What has become of it is not the socket's any more. */
		if (info.tcpi_state != TCP_CLOSE)
			conns[i].peer.state = info.tcpi_state;
	}
}

/* What a peer may well send, given the state that our end is in. */
static unsigned char move_flags(struct fuzz_peer *peer)
{
	bool syn_ack = peer->heard && peer->our_ack == peer->isn + 1;
	bool data = false, fin = false;
	unsigned char flags = TH_ACK;

	switch (peer->state) {
	case TCP_CLOSE:
	case TCP_LISTEN:
		if (!syn_ack)
			return fuzz_chance(95) ? TH_SYN : TH_ACK;
		/* It has a request for us, or a connection, by now. */
		peer->state = FUZZ_REQUEST;
		return TH_ACK;
	case TCP_SYN_SENT:
		return fuzz_chance(65) ? TH_SYN | TH_ACK : TH_SYN;
	case TCP_SYN_RECV:
	case FUZZ_REQUEST:
		data = fuzz_chance(30);
		fin = fuzz_chance(10);
		peer->state = TCP_ESTABLISHED;
		break;
	case TCP_ESTABLISHED:
		data = fuzz_chance(65);
		fin = fuzz_chance(12);
		break;
	case TCP_FIN_WAIT1:
		fin = fuzz_chance(60);
		break;
	case TCP_TIME_WAIT:
		if (fuzz_chance(30)) {
			/* The same ports again, with higher numbers. */
			peer->isn = peer->next + 1 + fuzz_draw(100000);
			peer->next = peer->isn + 1;
			peer->finished = false;
			return TH_SYN;
		}
		break;
	default:
		data = fuzz_chance(30);
		fin = fuzz_chance(35);
		break;
	}
	if (data)
		flags |= TH_PUSH;
	if (fin)
		flags |= TH_FIN;
	return flags;
}

static void arrive(struct fuzz_peer *peer)
{
	enum fuzz_damage damage = FUZZ_INTACT;
	struct fuzz_segment segment;
	unsigned int bends = 0;
	int state = peer->state;
	uint32_t end;

	if (fuzz_chance(3)) {
		fuzz_arrive_icmp(peer);
		return;
	}
	fuzz_segment_init(&segment, peer, move_flags(peer));
	if (segment.flags & TH_PUSH)
		segment.len = 1 + fuzz_draw(fuzz_chance(70) ? FUZZ_MSS :
							      FUZZ_DATA);
	if (segment.flags & TH_SYN && fuzz_chance(20))
		segment.len = fuzz_draw(600);
	/* Our FIN unanswered, so that both ends are closing at once. */
	if (peer->state == TCP_FIN_WAIT1 && fuzz_chance(60))
		segment.ack--;
	if (segment.flags & TH_FIN && peer->finished) {
		segment.seq = peer->next - 1;
		segment.len = 0;
	}
	if (fuzz_chance(10))
		segment.window = fuzz_draw_window();
	if (fuzz_chance(noise)) {
		for (bends = 1 + fuzz_draw(3); bends; bends--)
			fuzz_segment_bend(&segment, peer);
		bends = 1;
	}
	if (fuzz_chance(noise / 4))
		damage = fuzz_draw(FUZZ_DAMAGES);
	else if (fuzz_chance(3))
		damage = FUZZ_FRAGMENTS;
	segment.forged = fuzz_keys.strict && fuzz_chance(25);
	fuzz_wire_stats.in[state]++;
	fuzz_arrive(peer, &segment, damage);
	if (bends || segment.flags & TH_SYN || segment.forged)
		return;
	peer->our_una = segment.ack;
	end = segment.seq + segment.len;
	if (segment.flags & TH_FIN) {
		end++;
		peer->finished = true;
	}
	if (fuzz_after(end, peer->next))
		peer->next = end;
}

/* Which call; how it is made is decided when it is. */
static void decide_call(struct fuzz_call *call, unsigned int step,
			unsigned int item)
{
	static const unsigned char weights[FUZZ_KINDS] = {
		[FUZZ_ACCEPT] = 16, [FUZZ_SEND] = 20, [FUZZ_RECV] = 24,
		[FUZZ_SPLICE] = 6, [FUZZ_SET] = 12, [FUZZ_GET] = 4,
		[FUZZ_POLL] = 2, [FUZZ_SHUTDOWN] = 6, [FUZZ_CLOSE] = 4,
		[FUZZ_UNCONNECT] = 1, [FUZZ_CONNECT] = 2, [FUZZ_LISTEN] = 1,
		[FUZZ_DESTROY] = 1, [FUZZ_RELISTEN] = 1,
	};
	unsigned int drawn = fuzz_draw(100), kind = 0;

	while (drawn >= weights[kind]) {
		drawn -= weights[kind++];
		/* They are 100 in all. */
		if (kind == FUZZ_KINDS)
			ksft_exit_fail_msg("weights\n");
	}
	*call = (struct fuzz_call){
		.kind = kind, .conn = &conns[fuzz_draw(nr_conns)],
		.step = step, .item = item,
	};
	if (kind == FUZZ_CONNECT) {
		call->fresh = new_conn(call->conn->peer.family);
		if (!call->fresh || call->fresh == call->conn)
			call->kind = FUZZ_UNCONNECT;
		else
			call->fresh->peer.state = TCP_SYN_SENT;
	}
}

static void make_step(unsigned int step)
{
	static const unsigned char waits[] = { 0, 0, 1, 1, 2, 5 };
	bool together, calls_first;
	unsigned int i, packets;

	stats.steps++;
	fuzz_trace("step %u\n", step);
	fuzz_begin_item(round_seed, step, 0);
	if (fuzz_chance(10))
		begin_conn();
	packets = fuzz_draw(PACKETS + 1);
	worker.nr = fuzz_draw(CALLS + 1);
	together = fuzz_chance(50);
	calls_first = fuzz_chance(50);
	for (i = 0; i < worker.nr; i++) {
		fuzz_begin_item(round_seed, step, ITEM_CALLS + i);
		decide_call(&worker.calls[i], step, ITEM_DRAWS + i);
	}
	if (together)
		sem_post(&worker.begin);
	else if (calls_first)
		make_calls();
	for (i = 0; i < packets; i++) {
		fuzz_begin_item(round_seed, step, ITEM_PACKETS + i);
		arrive(&conns[fuzz_draw(nr_conns)].peer);
	}
	if (together)
		while (sem_wait(&worker.end))
			;
	else if (!calls_first)
		make_calls();
	fuzz_begin_item(round_seed, step, ITEM_WIRE);
	place_accepted();
	fuzz_listen_wire(waits[fuzz_draw(ARRAY_SIZE(waits))], find_peer);
	look_at_ends();
	if (fuzz_chance(15))
		scan();
}

/* Sockets that the peers could end; not those of our own, and TIME_WAIT. */
static unsigned int living(void)
{
	unsigned int i, n = 0;

	scan();
	for (i = 0; i < nr_rows; i++)
		n += rows[i].state != TCP_LISTEN &&
		     rows[i].state != TCP_TIME_WAIT;
	return n;
}

/*
 * Peers end what is left with one exact reset each; where the sequence number
 * is not known, our end tells it in a challenge ACK.
 */
static void reset_all(void)
{
	struct fuzz_segment segment;
	struct fuzz_peer *peer;
	unsigned int try, i;

	for (try = 0; try < 20 && living(); try++) {
		for (i = 0; i < nr_rows; i++) {
			peer = find_peer(rows[i].ours, rows[i].theirs);
			if (!peer || rows[i].state == TCP_LISTEN)
				continue;
			memset(&segment, 0, sizeof(segment));
			segment.flags = TH_RST | TH_ACK;
			segment.seq = peer->heard ? peer->our_ack : peer->isn;
			segment.ack = peer->our_next;
			fuzz_arrive(peer, &segment, FUZZ_INTACT);
		}
		fuzz_listen_wire(1, find_peer);
	}
	stats.gentle++;
	stats.stubborn += living();
}

static void end_round(void)
{
	bool gentle;
	unsigned int i;

	fuzz_begin_item(round_seed, STEPS_MAX + 1, 0);
	gentle = fuzz_chance(50);
	for (i = 0; i < nr_conns; i++) {
		if (conns[i].end.fd < 0)
			continue;
		if (fuzz_chance(30))
			fuzz_set_odd(conns[i].end.fd);
		close(conns[i].end.fd);
		conns[i].end.fd = -1;
	}
	if (gentle)
		reset_all();
	for (i = 0; i < ARRAY_SIZE(fuzz_listeners); i++)
		if (fuzz_listeners[i] >= 0)
			close(fuzz_listeners[i]);
	fuzz_listeners[0] = -1;
	fuzz_listeners[1] = -1;
	for (i = 0; i < TRIES; i++) {
		unsigned int row;

		scan();
		for (row = 0; row < nr_rows; row++)
			fuzz_destroy(rows[row].v6, rows[row].ours,
				     rows[row].theirs);
		if (!nr_rows && !connp_sockets())
			break;
		usleep(1000);
		fuzz_listen_wire(0, find_peer);
	}
	fuzz_listen_wire(0, find_peer);
	if (i == TRIES) {
		for (i = 0; i < nr_rows; i++)
			ksft_print_msg("left: IPv%d %u to %u, state %d\n",
				       rows[i].v6 ? 6 : 4, rows[i].ours,
				       rows[i].theirs, rows[i].state);
		fuzz_fail("%u sockets are left, and %d are counted", nr_rows,
			  connp_sockets());
	}
	if (!connp_wait_conns(base_conns))
		fuzz_fail("connections are left in groups");
	if (connp_groups_fd >= 0 && !connp_wait_drained())
		fuzz_fail("work is left on a queue");
}

static void choose_settings(void)
{
	unsigned int i, value;

	for (i = 0; i < ARRAY_SIZE(settings); i++) {
		value = fuzz_chance(70) ? 0 : fuzz_draw(3);
		if (settings[i].fd >= 0 && settings[i].values[value] &&
		    pwrite(settings[i].fd, settings[i].values[value],
			   strlen(settings[i].values[value]), 0) < 0)
			ksft_exit_fail_perror(settings[i].name);
	}
}

/* What a round has reached that none had before. */
static char news[4096];

static void note_news(const char *what)
{
	size_t len = strlen(news);

	snprintf(news + len, sizeof(news) - len, " %s", what);
}

static void read_counters(const char *path)
{
	char names[8192], values[8192];
	char *n, *v, *more_n, *more_v;
	FILE *f = fopen(path, "r");
	unsigned int i;

	while (f && fgets(names, sizeof(names), f) &&
	       fgets(values, sizeof(values), f)) {
		if (strncmp(names, "Tcp", 3))
			continue;
		n = strtok_r(names, "\n ", &more_n);
		v = strtok_r(values, "\n ", &more_v);
		for (; n && v; n = strtok_r(NULL, "\n ", &more_n),
		     v = strtok_r(NULL, "\n ", &more_v)) {
			for (i = 0; i < nr_counters; i++)
				if (!strcmp(counters[i].name, n))
					break;
			if (i == COUNTERS)
				continue;
			if (i == nr_counters) {
				snprintf(counters[i].name,
					 sizeof(counters[i].name), "%s", n);
				nr_counters++;
			}
			if (!counters[i].value && strtoul(v, NULL, 10)) {
				moved++;
				counters[i].value = strtoul(v, NULL, 10);
				note_news(n);
			}
		}
	}
	if (f)
		fclose(f);
}

/* What has been reached for the first time, by states and by counters. */
static void tell_news(uint64_t of_seed, unsigned long round)
{
	static unsigned long known[FUZZ_STATES];
	unsigned int i;

	news[0] = 0;
	for (i = 0; i < FUZZ_STATES; i++) {
		if (reached[i] && !known[i])
			note_news(fuzz_states[i]);
		known[i] = reached[i];
	}
	read_counters("/proc/net/netstat");
	read_counters("/proc/net/snmp");
	if (tell && news[0])
		ksft_print_msg("keep 0x%llx:%lu%s\n",
			       (unsigned long long)of_seed, round, news);
}

/* Which keys there are in this round. */
static void choose_keys(unsigned long round)
{
	fuzz_begin_item(round_seed, 0, ITEM_KEYS);
	fuzz_keys.kind = FUZZ_UNSIGNED;
	if (round >= KEYS_ROUND)
		fuzz_keys.kind = round / KEYS_EVERY % 2 ? FUZZ_MD5 : FUZZ_AO;
	if (!fuzz_keys.has[fuzz_keys.kind])
		fuzz_keys.kind = FUZZ_UNSIGNED;
	fuzz_keys.strict = fuzz_keys.kind && fuzz_chance(60);
	stats.keys[fuzz_keys.kind]++;
	stats.strict += fuzz_keys.strict;
}

/* One round; false if something was wrong. */
static bool run_round(uint64_t of_seed, unsigned long round)
{
	static const unsigned char noises[] = { 0, 5, 15, 30, 60 };
	unsigned int i, steps, begin;

	stats.rounds++;
	round_seed = fuzz_mix(of_seed + fuzz_mix(round));
	choose_keys(round);
	fuzz_begin_item(round_seed, 0, 0);
	choose_settings();
	noise = noises[fuzz_draw(ARRAY_SIZE(noises))];
	steps = 20 + fuzz_draw(STEPS_MAX - 20);
	next_port = 10000 + fuzz_draw(50000);
	nr_conns = 0;
	if (!fuzz_listen(false) || (fuzz_has_v6 && !fuzz_listen(true)))
		fuzz_fail("a port is taken: %s", strerror(errno));
	for (i = 0, begin = 1 + fuzz_draw(4); i < begin; i++)
		begin_conn();
	for (i = 1; i <= steps && !fuzz_wrong[0]; i++)
		make_step(i);
	end_round();
	tell_news(of_seed, round);
	if (!fuzz_wrong[0])
		return true;
	ksft_print_msg("%s\n", fuzz_wrong);
	ksft_print_msg("again: FUZZ_SEED=0x%llx:%lu\n",
		       (unsigned long long)of_seed, round);
	return false;
}

/* Those beside this program. */
static bool run_kept(void)
{
	unsigned long long of_seed;
	unsigned long round;
	char path[PATH_MAX], line[256];
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 20);
	bool right = true;
	FILE *f;

	path[len > 0 ? len : 0] = 0;
	strcat(dirname(path), "/fuzz.seeds");
	f = fopen(path, "r");
	if (!f)
		ksft_print_msg("no %s\n", path);
	while (f && right && fgets(line, sizeof(line), f)) {
		if (!strcmp(line, "long\n") && !connp_full())
			break;
		if (sscanf(line, "%llx:%lu", &of_seed, &round) == 2)
			right = run_round(of_seed, round);
	}
	if (f)
		fclose(f);
	return right;
}

static void print_stats(double ms)
{
	unsigned long in = 0, calls = 0;
	unsigned int i;

	for (i = 0; i < FUZZ_STATES; i++)
		in += fuzz_wire_stats.in[i];
	for (i = 0; i < FUZZ_KINDS; i++)
		calls += fuzz_call_stats.calls[i];
	ksft_print_msg("%.1f s, %lu rounds, %lu steps, %lu calls\n", ms / 1e3,
		       stats.rounds, stats.steps, calls);
	ksft_print_msg("%lu segments arrived (%lu with a bad checksum, %lu cut, %lu with a bad header, %lu in fragments), %lu ICMP errors\n",
		       in, fuzz_wire_stats.damaged[FUZZ_CHECKSUM],
		       fuzz_wire_stats.damaged[FUZZ_CUT],
		       fuzz_wire_stats.damaged[FUZZ_HEADER],
		       fuzz_wire_stats.damaged[FUZZ_FRAGMENTS],
		       fuzz_wire_stats.icmp);
	ksft_print_msg("%lu segments left; checked %lu bytes that were read, %lu that left\n",
		       fuzz_wire_stats.out, fuzz_call_stats.bytes_in,
		       fuzz_wire_stats.bytes_out);
	ksft_print_msg("%lu rounds ended by resets, which left %lu sockets; %u counters moved\n",
		       stats.gentle, stats.stubborn, moved);
	ksft_print_msg("rounds with keys of MD5: %lu, of AO: %lu, with nothing unsigned: %lu; %lu changes of keys\n",
		       stats.keys[FUZZ_MD5], stats.keys[FUZZ_AO], stats.strict,
		       fuzz_call_stats.keys);
	ksft_print_msg("signed by MD5: %lu segments in, %lu out; by AO: %lu, %lu; forged: %lu\n",
		       fuzz_wire_stats.signed_in[FUZZ_MD5],
		       fuzz_wire_stats.signed_out[FUZZ_MD5],
		       fuzz_wire_stats.signed_in[FUZZ_AO],
		       fuzz_wire_stats.signed_out[FUZZ_AO],
		       fuzz_wire_stats.forged);
	for (i = 0; i < FUZZ_STATES; i++)
		if (fuzz_states[i])
			ksft_print_msg("%s: seen %lu times, %lu segments\n",
				       fuzz_states[i], reached[i],
				       fuzz_wire_stats.in[i]);
}

static void start(void)
{
	char path[80];
	unsigned int i;

	fuzz_wire_start();
	for (i = 0; i < ARRAY_SIZE(settings); i++) {
		snprintf(path, sizeof(path), "/proc/sys/net/ipv4/%s",
			 settings[i].name);
		/* Not each kernel has all of them. */
		settings[i].fd = open(path, O_WRONLY | O_CLOEXEC);
	}
	if (pipe2(fuzz_pipe, O_NONBLOCK | O_CLOEXEC))
		ksft_exit_fail_perror("pipe");
	if (fuzz_destroy(false, 1, 1) == -EOPNOTSUPP)
		ksft_exit_skip("needs CONFIG_INET_DIAG_DESTROY\n");
	/* splice() has no flag for it. */
	signal(SIGPIPE, SIG_IGN);
	sem_init(&worker.begin, 0, 0);
	sem_init(&worker.end, 0, 0);
	/* By default half as many as the table has buckets, which may be 1. */
	connp_write_file("/proc/sys/net/ipv4/tcp_max_tw_buckets", "65536");
	fuzz_keys_start();
	worker.thread = connp_thread(work, NULL);
	base_conns = connp_conns();
}

int main(void)
{
	const char *wanted = getenv("FUZZ_SEED"), *text = getenv("FUZZ_SECONDS");
	const char *most = getenv("FUZZ_ROUNDS");
	unsigned long rounds = most && *most ? strtoul(most, NULL, 0) :
						ULONG_MAX;
	unsigned int seconds = text ? atoi(text) : 0, i;
	unsigned long round = 0;
	bool right, only = false, has_keys;
	double begin;
	char *end;

	fuzz_traced = getenv("FUZZ_TRACE");
	fuzz_memory_fails = connp_shared();
	if (!seconds && rounds != ULONG_MAX)
		seconds = ROUNDS_SECONDS;
	else if (!seconds)
		seconds = connp_slow() ? DEBUG_SECONDS : DEFAULT_SECONDS;
	tell = seconds >= TELL_SECONDS && rounds == ULONG_MAX;
	connp_start(1 + FUZZ_STATES - 1 + FUZZ_AUTHS - 1,
		    seconds + (connp_full() ? 1200 : 240));
	if (wanted && *wanted) {
		seed = strtoull(wanted, &end, 0);
		only = *end == ':';
		if (only)
			round = strtoul(end + 1, NULL, 0);
	} else if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed)) {
		ksft_exit_fail_perror("getrandom");
	}
	ksft_print_msg("FUZZ_SEED=0x%llx\n", (unsigned long long)seed);
	start();
	has_keys = fuzz_keys.has[FUZZ_MD5] || fuzz_keys.has[FUZZ_AO];

	begin = connp_ms();
	if (only) {
		right = run_round(seed, round);
	} else {
		right = run_kept();
		ksft_print_msg("%lu kept rounds, %.1f s\n", stats.rounds,
			       (connp_ms() - begin) / 1e3);
		begin = connp_ms();
		for (; right && round < rounds &&
		     connp_ms() - begin < seconds * 1e3; round++) {
			right = run_round(seed, round);
			if (right && has_keys &&
			    round % KEYS_EVERY == KEYS_EVERY - 1)
				right = run_round(seed, KEYS_ROUND + round);
		}
	}
	print_stats(connp_ms() - begin);
	ksft_test_result(right, "every byte is right, and no socket is left\n");
	for (i = 1; i < FUZZ_STATES; i++) {
		if (only)
			ksft_test_result_skip("only one round\n");
		else
			ksft_test_result(reached[i], "%s was reached\n",
					 fuzz_states[i]);
	}
	for (i = FUZZ_MD5; i < FUZZ_AUTHS; i++) {
		if (only || !stats.keys[i])
			ksft_test_result_skip("%s: %s\n", fuzz_auths[i],
					      fuzz_keys.has[i] ?
					      "too few rounds" :
					      "the kernel lacks it, or AF_ALG");
		else
			ksft_test_result(fuzz_wire_stats.signed_in[i] &&
					 fuzz_wire_stats.signed_out[i],
					 "%s: signed both ways\n",
					 fuzz_auths[i]);
	}
	ksft_finished();
}
