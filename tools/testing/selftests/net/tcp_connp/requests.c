// SPDX-License-Identifier: GPL-2.0
/*
 * Half-open connections and TIME_WAIT have timers that are cancelled
 * synchronously: whoever cancels waits for the handler, and the handler takes
 * the lock of the group's part of ehash. Were that lock held by whoever waits,
 * as it would be if it was the group's own, both would wait for ever: the third
 * deadlock of those that Documentation/networking/tcp_connp.rst tells of.
 *
 * The test plays the peers. It leaves SYN-ACKs unanswered until the timers of
 * the requests fire, all in a row on one CPU, and follows them from another one
 * with the ACKs: those that come meet the timer of their own request before,
 * while and after it runs. Then the same with RSTs and with the timers of
 * FIN_WAIT2 that TIME_WAIT sockets have, which last a second.
 *
 * And listeners close while their children are half open, wait to be accepted,
 * or wait with data: with another listener to take them over, and without.
 */
#include "connp_peer.h"

/* Many, as two CPUs are to meet, and an emulator lets them run by turns. */
#define CLIENTS_MAX	512
#define CLIENTS_MIN	16
#define CHILDREN	96
#define TUN_PACKETS	(4 * CLIENTS_MAX)
#define FIRST_PORT	20000
/* Requests to the first are sent again in a second, those to the second end. */
#define PORT_AGAIN	CONNP_PEER_PORT
#define PORT_ONCE	(CONNP_PEER_PORT + 1)
#define PORT_SHARED	(CONNP_PEER_PORT + 2)
#define PORT_CLOSING	(CONNP_PEER_PORT + 3)
#define PORT_NOBODY	(CONNP_PEER_PORT + 4)
#define LAST_PORT	(FIRST_PORT - 1)
#define SNMP		"/proc/net/snmp"
/* How far ahead of the timers packets are sent: up to so many. */
#define LEAD		32
/*
 * The first packets of all clients, in ms: a good part of the second that the
 * timers are set to, but not so much that the rest of it is not enough.
 */
#define KNOCKS_MS	400
/* To catch up with them, look at so many packets for each that is sent. */
#define LOOKS		16

struct client {
	struct connp_peer peer;
	unsigned short to;
	bool answered, acked, accepted, reset, ended;
	bool repeated;		/* the SYN-ACK, because the timer has fired */
	bool fired;		/* the timer of its request, at least once */
};

static struct client again[CLIENTS_MAX], once[CLIENTS_MAX];
static unsigned int nr_clients;
static unsigned short next_port = FIRST_PORT;
/* Of the client with this port. */
static struct client *clients[65536];
static unsigned int wrong;

/* Room for what leaves before the test looks at it. */
static void widen_tun(void)
{
	struct ifreq ifr = { .ifr_name = "tun0", .ifr_qlen = TUN_PACKETS };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (fd < 0 || ioctl(fd, SIOCSIFTXQLEN, &ifr))
		ksft_exit_fail_perror("the queue of tun0");
	close(fd);
}

static void arrive(struct client *client, unsigned char flags, bool data)
{
	struct connp_packet packet;

	connp_packet_init(&packet, &client->peer, flags);
	packet.tcp.dest = htons(client->to);
	if (data)
		packet.data[0] = connp_byte(1, client->peer.port);
	connp_packet_arrive(&packet, data);
}

/* Look at one packet that has left; NULL if there is none now. */
static struct client *look(unsigned char *flags)
{
	struct connp_packet packet;
	struct client *client;
	ssize_t len;

	do {
		len = read(connp_tun, &packet, sizeof(packet));
		if (len < 0)
			return NULL;
		client = clients[ntohs(packet.tcp.dest)];
	} while (len < 40 || packet.ip.version != 4 || !client);
	*flags = packet.tcp.th_flags;
	if (*flags == (TH_SYN | TH_ACK))
		client->repeated = client->answered;
	client->answered = true;
	if (*flags & TH_RST)
		client->reset = true;
	else if (*flags & TH_SYN)
		client->peer.ack = ntohl(packet.tcp.seq) + 1;
	if (*flags & TH_FIN) {
		client->peer.ack = ntohl(packet.tcp.seq) + 1;
		client->ended = true;
	}
	return client;
}

/* Look at what leaves until @client has an answer. */
static void answered(struct client *client)
{
	struct pollfd pollfd = { .fd = connp_tun, .events = POLLIN };
	unsigned char flags;

	while (!client->answered) {
		if (poll(&pollfd, 1, CONNP_PEER_MS) != 1)
			ksft_exit_fail_msg("no answer to a client\n");
		look(&flags);
	}
}

/*
 * Look at what leaves until all that has arrived is processed. A busy kernel
 * leaves that to a thread, but keeps the order: so a last packet, to a port that
 * is nobody's, has its answer when all others have theirs.
 */
static void all_answered(void)
{
	static struct client last;

	memset(&last, 0, sizeof(last));
	last.to = PORT_NOBODY;
	last.peer.port = LAST_PORT;
	clients[LAST_PORT] = &last;
	arrive(&last, TH_ACK, false);
	answered(&last);
	clients[LAST_PORT] = NULL;
}

/* The first packet of a new client, and the answer to it. */
static void knock(struct client *client, unsigned short to)
{
	memset(client, 0, sizeof(*client));
	client->to = to;
	client->peer.port = next_port++;
	client->peer.seq = 1000 * client->peer.port;
	clients[client->peer.port] = client;
	arrive(client, TH_SYN, false);
	client->peer.seq++;
	answered(client);
	if (client->reset)
		ksft_exit_fail_msg("a SYN is answered by a RST\n");
}

/*
 * Of the kernel, which may check itself, depends how many clients there are:
 * is there time for the first packet of another one, after @n?
 */
static bool time_for_another(unsigned int n)
{
	static double start;

	if (!n)
		start = connp_ms();
	return n < CLIENTS_MAX &&
	       (n < CLIENTS_MIN || connp_ms() - start < KNOCKS_MS);
}

/* The last packet of the handshake, with a byte; again, if need be. */
static void enter(struct client *client)
{
	client->acked = true;
	arrive(client, TH_ACK | TH_PUSH, true);
}

/* Those that were let in; their sockets are left in peer.fd. */
static unsigned int accept_all(int listener)
{
	struct sockaddr_in sin;
	socklen_t len = sizeof(sin);
	struct client *client;
	unsigned int n = 0;
	unsigned char byte;
	int fd;

	while ((fd = accept4(listener, (void *)&sin, &len,
			     SOCK_CLOEXEC)) >= 0) {
		client = clients[ntohs(sin.sin_port)];
		if (!client || client->accepted)
			ksft_exit_fail_msg("a stranger was let in\n");
		client->accepted = true;
		client->peer.fd = fd;
		client->peer.seq++;
		/* In ConnP-T it may come a little later. */
		if (recv(fd, &byte, 1, 0) != 1 ||
		    byte != connp_byte(1, client->peer.port))
			wrong++;
		n++;
	}
	return n;
}

static void forget(struct client *group, unsigned int n)
{
	while (n--)
		clients[group[n].peer.port] = NULL;
}

static int listen_on(unsigned short port, bool shared)
{
	struct sockaddr_in sin = {
		.sin_family = AF_INET, .sin_port = htons(port),
		.sin_addr.s_addr = htonl(CONNP_PEER_OURS),
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	connp_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (shared)
		connp_set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (bind(fd, (void *)&sin, sizeof(sin)) || listen(fd, 1024))
		ksft_exit_fail_perror("listen");
	return fd;
}

/* Half-open connections of this namespace. */
static unsigned int half_open(void)
{
	FILE *f = fopen("/proc/net/tcp", "r");
	unsigned int state, n = 0;
	char line[256];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, " %*d: %*x:%*x %*x:%*x %x", &state) == 1)
			n += state == TCP_SYN_RECV;
	if (f)
		fclose(f);
	return n;
}

/*
 * Timers that were set in the same 32 ms fire in a row, the last one first. So
 * when that of one client has, those of the ones before it come next. The ACKs
 * are sent to some of those, as it is not known how far the timers have got.
 */
static void follow_requests(void)
{
	unsigned int fired = 0, step = 0, i;
	struct client *client, *last;
	unsigned char flags;
	int next;

	while (fired < nr_clients) {
		last = NULL;
		for (i = 0; i < LOOKS && (client = look(&flags)); i++) {
			if (flags != (TH_SYN | TH_ACK) || client->fired)
				continue;
			client->fired = true;
			fired++;
			last = client;
		}
		if (!last)
			continue;
		next = last - again - 1 - step++ % LEAD;
		if (next < 0 || again[next].acked)
			continue;
		/* Which of them the timers come to first alternates, too. */
		if (step % 2)
			enter(&once[next]);
		/* It gets no SYN-ACK any more, unless it has fired. */
		fired += !again[next].fired;
		again[next].fired = true;
		enter(&again[next]);
		if (!(step % 2))
			enter(&once[next]);
	}
}

static void requests(unsigned int *met, unsigned int *refused)
{
	int listener = connp_peer_listener, brief = listen_on(PORT_ONCE, false);
	unsigned int i, in, let_in, undecided = 0;
	long timeouts = connp_tcpext("TCPTimeouts");

	connp_go_to(1);
	for (i = 0; time_for_another(i); i++) {
		knock(&once[i], PORT_ONCE);
		knock(&again[i], PORT_AGAIN);
	}
	nr_clients = i;
	connp_go_to(0);
	/* These are in good time. */
	for (i = 0; i < nr_clients; i += 4)
		enter(&once[i]);
	follow_requests();
	for (i = 0; i < nr_clients; i++) {
		if (!again[i].acked)
			enter(&again[i]);
		if (!once[i].acked)
			enter(&once[i]);
	}
	all_answered();
	in = accept_all(listener);
	let_in = accept_all(brief);
	/* Who came just when the timer did may have got no answer. */
	for (i = 0; i < nr_clients; i++)
		if (!once[i].accepted && !once[i].reset)
			arrive(&once[i], TH_ACK | TH_PUSH, true);
	all_answered();
	for (i = 0; i < nr_clients; i++) {
		undecided += once[i].accepted == once[i].reset;
		undecided += i % 4 == 0 && !once[i].accepted;
		*refused += once[i].reset;
		if (once[i].accepted)
			connp_abort(once[i].peer.fd);
	}
	timeouts = connp_tcpext("TCPTimeouts") - timeouts;
	ksft_print_msg("%ld timers fired, of 2 * %u clients %u and %u were let in\n",
		       timeouts, nr_clients, in, let_in);
	/* These came just before the timer; the rest did so after it. */
	*met += let_in - nr_clients / 4;
	if (in != nr_clients)
		ksft_exit_fail_msg("only %u of %u clients were let in\n", in,
				   nr_clients);
	wrong += undecided || half_open() ||
		 timeouts < (long)(nr_clients - let_in);
	forget(once, nr_clients);
	close(brief);
}

/* TIME_WAIT sockets there ever were, those for short included. */
static long all_time_waits(void)
{
	return connp_tcpext("TW") + connp_tcpext("TWKilled");
}

/*
 * All clients of requests() end, and leave a TIME_WAIT that is for a second: no
 * longer, if each FIN is acknowledged soon, so that the RTO is short.
 */
static unsigned int time_wait(void)
{
	long before = all_time_waits();
	unsigned int i, met = 0, step = 0;
	struct pollfd pollfd = { .fd = connp_tun, .events = POLLIN };
	bool killed[CLIENTS_MAX] = {};
	unsigned char flags;
	int left, first, now, next;

	for (i = 0; i < nr_clients; i++) {
		shutdown(again[i].peer.fd, SHUT_WR);
		while (!again[i].ended && poll(&pollfd, 1, CONNP_PEER_MS) == 1)
			look(&flags);
		arrive(&again[i], TH_ACK, false);
	}
	all_answered();
	if (connp_groups_fd >= 0 && !connp_wait_drained())
		ksft_exit_fail_msg("the groups are not drained\n");
	connp_go_to(1);
	for (i = 0; i < nr_clients; i++)
		close(again[i].peer.fd);
	connp_go_to(0);
	/*
	 * Where a packet of its own was queued just then, a full socket waits
	 * in the place of a TIME_WAIT. The alarm() of the test bounds these.
	 */
	while (all_time_waits() - before + connp_sockstat_number(" orphan ") <
	       (long)nr_clients)
		;
	first = connp_time_waits();
	while ((now = connp_time_waits()) && now == first)
		;
	for (left = now; now > 0; left = now) {
		next = now - 1 - step++ % LEAD;
		if (next >= 0 && !killed[next]) {
			killed[next] = true;
			arrive(&again[next], TH_RST, false);
		}
		now = connp_time_waits();
		/* More than the RST can account for. */
		met += now < left - 1;
	}
	forget(again, nr_clients);
	return met;
}

static void test_timers(void)
{
	unsigned int i, rounds = connp_full() ? 20 : 2;
	unsigned int met = 0, met_tw = 0, refused = 0;

	connp_write_file("/proc/sys/net/ipv4/tcp_fin_timeout", "1");
	connp_write_file("/proc/sys/net/ipv4/tcp_synack_retries", "0");
	/* One listener is to be more patient. */
	connp_set(connp_peer_listener, IPPROTO_TCP, TCP_SYNCNT, 3);
	fcntl(connp_peer_listener, F_SETFL, O_NONBLOCK);
	/* Some more, if the CPUs have not met: an emulator's run by turns. */
	for (i = 0; i < rounds || (i < 2 * rounds && !(met && met_tw)); i++) {
		requests(&met, &refused);
		met_tw += time_wait();
	}
	ksft_test_result(!wrong,
			 "who answers a SYN-ACK gets in with its data, or a RST\n");
	ksft_test_result(refused, "requests have ended, %u times\n", refused);
	if (met)
		ksft_test_result_pass("between timers of requests ACKs come in time, %u times\n",
				      met);
	else
		ksft_test_result_skip("ACKs between timers of requests: the CPUs did not meet\n");
	if (met_tw)
		ksft_test_result_pass("timers of TIME_WAIT fire while RSTs arrive, %u times\n",
				      met_tw);
	else
		ksft_test_result_skip("RSTs between timers of TIME_WAIT: the CPUs did not meet\n");
}

/* A listener that another thread closes, when told to. */
static struct {
	int fd;
	atomic_bool go;
} closing;

static void *close_it(void *unused)
{
	connp_go_to(1);
	while (!closing.go)
		sched_yield();
	close(closing.fd);
	return unused;
}

static pthread_t close_later(int fd)
{
	closing.fd = fd;
	closing.go = false;
	return connp_thread(close_it, NULL);
}

/* The timers of requests take them to a listener that is left. */
static void test_migration(void)
{
	int listeners[2] = {
		listen_on(PORT_SHARED, true), listen_on(PORT_SHARED, true),
	};
	long moved = connp_tcpext("TCPMigrateReqSuccess");
	unsigned int i, in, lost = 0, resets = 0;
	struct client *client;
	unsigned char flags;
	pthread_t thread;

	connp_write_file("/proc/sys/net/ipv4/tcp_migrate_req", "1");
	connp_write_file("/proc/sys/net/ipv4/tcp_synack_retries", "3");
	connp_go_to(1);
	for (i = 0; time_for_another(i); i++)
		knock(&again[i], PORT_SHARED);
	nr_clients = i;
	connp_go_to(0);
	/* Some wait to be accepted, there with data. */
	for (i = 0; i < nr_clients; i += 4)
		enter(&again[i]);
	thread = close_later(listeners[0]);
	/* With the first timer that fires. */
	while (!(client = look(&flags)) || flags != (TH_SYN | TH_ACK))
		;
	closing.go = true;
	/* The others fire, or are met by their ACKs. */
	for (i = 1; i < nr_clients; i += 2)
		enter(&again[i]);
	pthread_join(thread, NULL);
	for (i = 2; i < nr_clients; i += 4) {
		/* On a slow machine perhaps long ago. */
		while (!again[i].repeated)
			look(&flags);
		enter(&again[i]);
	}
	all_answered();
	in = accept_all(listeners[1]);
	/* Who came just when a timer replaced the request has to say it again. */
	for (i = 0; i < nr_clients; i++)
		if (!again[i].accepted)
			enter(&again[i]);
	all_answered();
	in += accept_all(listeners[1]);
	all_answered();
	for (i = 0; i < nr_clients; i++) {
		/*
		 * Stock, too, now and then resets one whose request or child
		 * is on the way from one listener to the other just then,
		 * before or after it is let in.
		 */
		lost += !again[i].accepted && !again[i].reset;
		resets += again[i].reset;
		if (again[i].accepted)
			connp_abort(again[i].peer.fd);
	}
	close(listeners[1]);
	forget(again, nr_clients);
	moved = connp_tcpext("TCPMigrateReqSuccess") - moved;
	ksft_print_msg("%u were let in, %ld of them moved, %u lost, %u reset\n",
		       in, moved, lost, resets);
	ksft_test_result(!lost && in + resets >= nr_clients && moved,
			 "a listener closes, and another one has its children\n");
}

/* There is no other. */
static void test_close(void)
{
	unsigned int i, round, rounds = connp_full() ? 400 : connp_loops(16);
	long children = connp_counter(SNMP, "Tcp:", "PassiveOpens");
	unsigned int unanswered = 0, early = 0;
	pthread_t thread;

	for (round = 0; round < rounds; round++) {
		int listener = listen_on(PORT_CLOSING, false);

		for (i = 0; i < CHILDREN; i++)
			knock(&again[i], PORT_CLOSING);
		thread = close_later(listener);
		for (i = 0; i < CHILDREN; i++) {
			/* Each round at another moment. */
			if (i == round * 5 % (CHILDREN / 2))
				closing.go = true;
			if (i % 8)
				enter(&again[i]);
			/* Also with more data that nobody will read. */
			if (i % 8 == 1)
				enter(&again[i]);
		}
		pthread_join(thread, NULL);
		all_answered();
		/* Some have noticed; the others do when they say something. */
		for (i = 0; i < CHILDREN; i++) {
			early += again[i].reset;
			if (!again[i].reset && i % 16)
				arrive(&again[i], TH_ACK | TH_PUSH, true);
		}
		connp_wait_sockets(1);
		all_answered();
		/* And some never say anything: their timers see to the rest. */
		for (i = 0; i < CHILDREN; i++)
			unanswered += i % 16 && !again[i].reset;
		forget(again, CHILDREN);
	}
	children = connp_counter(SNMP, "Tcp:", "PassiveOpens") - children;
	ksft_print_msg("of %u clients %ld were let in, %u reset early\n",
		       rounds * CHILDREN, children, early);
	/* Of those that say something, some come in time, and some too late. */
	ksft_test_result(!unanswered && children &&
			 children < rounds * CHILDREN / 16 * 15,
			 "a listener closes, and all its children are reset\n");
	while (half_open())
		usleep(10000);
	ksft_test_result_pass("no half-open connection is left\n");
}

int main(void)
{
	connp_start(8, 120);
	connp_peer_start(4096);
	widen_tun();
	test_timers();
	test_migration();
	test_close();
	close(connp_peer_listener);
	connp_wait_sockets(0);
	ksft_test_result(connp_wait_conns(0),
			 "no connection is left in a group\n");
	ksft_finished();
}
