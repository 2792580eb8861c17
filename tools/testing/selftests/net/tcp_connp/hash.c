// SPDX-License-Identifier: GPL-2.0
/*
 * An outsider can't choose the group of a connection, because the hash that it
 * follows from is keyed.
 *
 * An outsider chooses addresses and ports. So a grid of connections, from
 * neighbouring addresses and ports, is opened, the group of each learned from
 * /proc/net/tcp_connp, and treated as what an outsider has found out somehow:
 * groups are used evenly, and a connection's group tells nothing about that of
 * another one whose address or port differs in a simple way, nor about that of
 * the same addresses and ports in another namespace or after another boot. Nor
 * does the place of a connection in /proc/net/tcp, which is in the order of the
 * table's buckets: only connections in one bucket are in one group.
 *
 * Each verdict is wrong once in 10^9 runs if groups were drawn by lot.
 *
 * For two boots, which scripts/test-hash.sh makes: "hash print" prints the
 * groups of the grid, "hash compare FILE" compares them with those in FILE.
 */
#include <math.h>
#include <sys/klog.h>
#include <sys/resource.h>

#include "connp_peer.h"

#define FALSE_ALARM	0.000000001
/* The normal distribution is above that with this probability. */
#define FALSE_ALARM_Z	5.998

#define ADDRESSES	8
#define MAX_PORTS	256
#define FIRST_PORT	20000

/* In the order of ports, all addresses with the first, then with the next. */
struct grid {
	unsigned int ports;
	unsigned short group[MAX_PORTS][ADDRESSES];
};

/* How an outsider's guess differs from a connection that is known. */
struct relation {
	const char *name;
	int port, address;
};

static const struct relation relations[] = {
	{ "the next port", 1, 0 },
	{ "the second next port", 2, 0 },
	{ "the port 4 above", 4, 0 },
	{ "the next address", 0, 1 },
	{ "the second next address", 0, 2 },
	{ "the address 4 above", 0, 4 },
	{ "the next port and address", 1, 1 },
	{ "the next port, the address before", 1, -1 },
};

static unsigned int nr_groups;

/* The probability that of @n draws, each with probability @p, @k or more hit. */
static double tail(unsigned int n, double p, unsigned int k)
{
	double sum = 0;

	for (; k <= n; k++)
		sum += exp(lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) +
			   k * log(p) + (n - k) * log1p(-p));
	return sum;
}

/* The quantile of chi-square, as approximated by Wilson and Hilferty. */
static double chi_square(double freedom, double z)
{
	double root = 1 - 2 / (9 * freedom) + z * sqrt(2 / (9 * freedom));

	return root > 0 ? freedom * root * root * root : 0;
}

/* Are @cells that @n draws went to used evenly, but no more than by lot? */
static void report_even(const unsigned int *cells, unsigned int nr_cells,
			unsigned int n, const char *what)
{
	double expected = (double)n / nr_cells, sum = 0, low, high;
	unsigned int i;

	for (i = 0; i < nr_cells; i++)
		sum += (cells[i] - expected) * (cells[i] - expected) / expected;
	low = chi_square(nr_cells - 1, -FALSE_ALARM_Z);
	high = chi_square(nr_cells - 1, FALSE_ALARM_Z);
	ksft_print_msg("%s: %u in %u cells, chi-square %.1f, by lot %.1f to %.1f\n",
		       what, n, nr_cells, sum, low, high);
	ksft_test_result(sum >= low && sum <= high, "%s are spread evenly\n",
			 what);
}

/* So few cells that each is hit several times. */
static unsigned int cells_for(unsigned int n)
{
	unsigned int cells = nr_groups;

	while (cells > 2 && n / cells < 8)
		cells /= 2;
	return cells;
}

static void address_of(unsigned int i, struct connp_packet *packet)
{
	packet->ip.saddr = htonl(CONNP_PEER_THEIRS + i);
}

/* A connection from the peer's address @address and its port. */
static void open_from(struct connp_peer *peer, unsigned int address,
		      unsigned short port)
{
	struct connp_packet packet;

	memset(peer, 0, sizeof(*peer));
	peer->port = port;
	peer->seq = 1;
	connp_packet_init(&packet, peer, TH_SYN);
	address_of(address, &packet);
	connp_packet_arrive(&packet, 0);
	peer->seq++;
	if (!connp_leaves(peer, TH_SYN | TH_ACK))
		ksft_exit_fail_msg("no answer to a SYN\n");
	connp_packet_init(&packet, peer, TH_ACK);
	address_of(address, &packet);
	connp_packet_arrive(&packet, 0);
	peer->fd = accept4(connp_peer_listener, NULL, NULL, SOCK_CLOEXEC);
	if (peer->fd < 0)
		ksft_exit_fail_perror("accept");
}

static void reset_from(struct connp_peer *peer, unsigned int address)
{
	struct connp_packet packet;

	connp_packet_init(&packet, peer, TH_RST);
	address_of(address, &packet);
	connp_packet_arrive(&packet, 0);
	close(peer->fd);
}

/* How often the next connection in /proc/net/tcp is in the same group. */
struct listed {
	unsigned int n;
	unsigned int same;
};

static void read_list(const struct grid *grid, struct listed *listed)
{
	FILE *f = fopen("/proc/net/tcp", "r");
	unsigned int address, port, group, before = 0;
	char line[256];

	memset(listed, 0, sizeof(*listed));
	if (!f)
		ksft_exit_fail_perror("/proc/net/tcp");
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%*d: %*x:%*x %x:%x", &address, &port) != 2)
			continue;
		address = ntohl(address) - CONNP_PEER_THEIRS;
		port -= FIRST_PORT;
		if (address >= ADDRESSES || port >= grid->ports)
			continue;
		group = grid->group[port][address];
		listed->same += listed->n++ && group == before;
		before = group;
	}
	fclose(f);
	if (listed->n != grid->ports * ADDRESSES)
		ksft_exit_fail_msg("%u of %u connections are in /proc/net/tcp\n",
				   listed->n, grid->ports * ADDRESSES);
}

/* As the kernel has said at boot; 0: it is too long ago. */
static unsigned int table_buckets(void)
{
	static char log[1 << 20];
	unsigned int buckets = 0;
	int len = klogctl(3, log, sizeof(log) - 1);
	const char *line;

	if (len < 0)
		ksft_exit_fail_perror("reading the kernel log");
	log[len] = 0;
	line = strstr(log, "TCP established hash table entries: ");
	if (line)
		sscanf(strchr(line, ':'), ": %u", &buckets);
	return buckets;
}

static void report_listed(const struct listed *listed)
{
	unsigned int buckets = table_buckets();
	double lot = 1.0 / nr_groups, chance;

	if (buckets <= listed->n) {
		ksft_test_result_skip("the next in /proc/net/tcp: the table is too small, or the log does not tell\n");
		return;
	}
	/* Or it is in the same bucket; this is more than the probability. */
	lot += (1 - lot) * listed->n / buckets;
	chance = tail(listed->n - 1, lot, listed->same);
	ksft_print_msg("the next of %u in /proc/net/tcp: %u in the same group, by lot and in %u buckets %.1f; chance %.2g\n",
		       listed->n, listed->same, buckets, lot * listed->n,
		       chance < 1 ? chance : 1);
	ksft_test_result(chance > FALSE_ALARM,
			 "the next in /proc/net/tcp: the place is no hint\n");
}

/*
 * Learn the groups of a grid, and the list that it is in, in a namespace with a
 * peer.
 */
static void learn(struct grid *grid, struct listed *listed)
{
	static struct connp_peer peers[MAX_PORTS][ADDRESSES];
	long rows[2][CONNP_MAX_GROUPS];
	unsigned int i, j, g, which = 0;

	connp_rows("conns", rows[which]);
	for (i = 0; i < grid->ports; i++) {
		for (j = 0; j < ADDRESSES; j++) {
			open_from(&peers[i][j], j, FIRST_PORT + i);
			which = !which;
			connp_rows("conns", rows[which]);
			for (g = 0; g < nr_groups; g++)
				if (rows[which][g] > rows[!which][g])
					break;
			if (g == nr_groups)
				ksft_exit_fail_msg("a connection is in no group\n");
			grid->group[i][j] = g;
		}
	}
	read_list(grid, listed);
	for (i = 0; i < grid->ports; i++)
		for (j = 0; j < ADDRESSES; j++)
			reset_from(&peers[i][j], j);
	connp_forget_left();
	connp_wait_conns(0);
}

static void test_even(const struct grid *grid)
{
	unsigned int i, j, n = grid->ports * ADDRESSES;
	unsigned int cells = cells_for(n);
	static unsigned int high[CONNP_MAX_GROUPS], low[CONNP_MAX_GROUPS];

	for (i = 0; i < grid->ports; i++) {
		for (j = 0; j < ADDRESSES; j++) {
			high[grid->group[i][j] / (nr_groups / cells)]++;
			low[grid->group[i][j] % cells]++;
		}
	}
	report_even(high, cells, n, "neighbouring ports and addresses");
	report_even(low, cells, n, "the same, by the group's lower bits,");
}

/* IPv6 has a hash of its own. Of these both ends are counted. */
static void test_even_ipv6(unsigned int n)
{
	static unsigned int cells[CONNP_MAX_GROUPS];
	static struct connp_pair pairs[MAX_PORTS * ADDRESSES];
	unsigned int i, nr_cells = cells_for(2 * n);
	long before[CONNP_MAX_GROUPS], rows[CONNP_MAX_GROUPS];

	connp_rows("conns", before);
	for (i = 0; i < n; i++)
		connp_connect(CONNP_V6, &pairs[i]);
	connp_rows("conns", rows);
	for (i = 0; i < nr_groups; i++)
		cells[i / (nr_groups / nr_cells)] += rows[i] - before[i];
	report_even(cells, nr_cells, 2 * n, "ends of connections over IPv6");
	for (i = 0; i < n; i++)
		connp_disconnect(&pairs[i]);
	connp_wait_conns(0);
}

/*
 * Two columns of groups, known and guessed at: that they differ by any one
 * number, 0 included, be it by addition or bit by bit, is not seen more often
 * than by lot.
 */
struct guesses {
	unsigned int n;
	unsigned int sum[CONNP_MAX_GROUPS];
	unsigned int bits[CONNP_MAX_GROUPS];
};

static void guess(struct guesses *guesses, unsigned int known,
		  unsigned int other)
{
	guesses->n++;
	guesses->sum[(other - known) % nr_groups]++;
	guesses->bits[other ^ known]++;
}

static void report_guesses(const struct guesses *guesses, const char *what)
{
	unsigned int i, most = 0;
	double chance;

	for (i = 0; i < nr_groups; i++) {
		if (guesses->sum[i] > most)
			most = guesses->sum[i];
		if (guesses->bits[i] > most)
			most = guesses->bits[i];
	}
	chance = 2 * nr_groups * tail(guesses->n, 1.0 / nr_groups, most);
	ksft_print_msg("%s: %u of %u in the same group, %u in the best guess; a lot does as well with probability %.2g\n",
		       what, guesses->sum[0], guesses->n, most,
		       chance < 1 ? chance : 1);
	ksft_test_result(chance > FALSE_ALARM, "%s: the group is no hint\n",
			 what);
}

static void test_relation(const struct grid *grid, const struct relation *by)
{
	struct guesses guesses = {};
	unsigned int i, j, address;

	for (i = 0; i + by->port < grid->ports; i++) {
		for (j = 0; j < ADDRESSES; j++) {
			address = j + by->address;
			if (address < ADDRESSES)
				guess(&guesses, grid->group[i][j],
				      grid->group[i + by->port][address]);
		}
	}
	report_guesses(&guesses, by->name);
}

static void test_same(const struct grid *grid, const struct grid *other,
		      const char *where)
{
	struct guesses guesses = {};
	unsigned int i, j;

	for (i = 0; i < grid->ports && i < other->ports; i++)
		for (j = 0; j < ADDRESSES; j++)
			guess(&guesses, grid->group[i][j], other->group[i][j]);
	report_guesses(&guesses, where);
}

static void print(const struct grid *grid)
{
	unsigned int i, j;

	printf("groups %u ports %u\n", nr_groups, grid->ports);
	for (i = 0; i < grid->ports; i++)
		for (j = 0; j < ADDRESSES; j++)
			printf("%u\n", grid->group[i][j]);
}

static void read_grid(const char *path, struct grid *grid)
{
	FILE *f = fopen(path, "r");
	unsigned int i, j, groups;

	if (!f)
		ksft_exit_fail_perror(path);
	if (fscanf(f, "groups %u ports %u\n", &groups, &grid->ports) != 2)
		ksft_exit_fail_msg("%s does not begin as hash prints it\n",
				   path);
	if (groups != nr_groups || grid->ports > MAX_PORTS)
		ksft_exit_fail_msg("%s is of %u groups and %u ports\n", path,
				   groups, grid->ports);
	for (i = 0; i < grid->ports; i++)
		for (j = 0; j < ADDRESSES; j++)
			if (fscanf(f, "%hu\n", &grid->group[i][j]) != 1 ||
			    grid->group[i][j] >= nr_groups)
				ksft_exit_fail_msg("%s is cut short\n", path);
	fclose(f);
}

int main(int argc, char **argv)
{
	static struct grid grid, other;
	struct listed listed, elsewhere;
	long rows[CONNP_MAX_GROUPS];
	struct rlimit limit;
	unsigned int i;

	connp_need_groups();
	connp_start(argc > 1 ? 1 : ARRAY_SIZE(relations) + 5, 600);
	if (connp_shared())
		ksft_exit_skip("others open connections as well\n");
	nr_groups = connp_rows("conns", rows);
	if (nr_groups == 1)
		ksft_exit_skip("there is one group\n");
	limit.rlim_cur = 2 * MAX_PORTS * ADDRESSES + 100;
	limit.rlim_max = limit.rlim_cur;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		ksft_exit_fail_perror("RLIMIT_NOFILE");

	/* To read about a thousand groups takes a while. */
	grid.ports = connp_loops(nr_groups > 128 ? 32 : 64);
	if (connp_full())
		grid.ports *= 4;
	connp_peer_start(16);
	learn(&grid, &listed);
	if (argc == 2 && !strcmp(argv[1], "print")) {
		print(&grid);
		return 0;
	}
	if (argc == 3 && !strcmp(argv[1], "compare")) {
		read_grid(argv[2], &other);
		test_same(&grid, &other, "another boot");
		ksft_finished();
	}
	test_even(&grid);
	test_even_ipv6(grid.ports * ADDRESSES / 2);
	for (i = 0; i < ARRAY_SIZE(relations); i++)
		test_relation(&grid, &relations[i]);
	report_listed(&listed);

	close(connp_tun);
	close(connp_peer_listener);
	connp_new_netns();
	connp_peer_start(16);
	other.ports = grid.ports / 2 + 1;
	learn(&other, &elsewhere);
	test_same(&grid, &other, "another namespace");
	ksft_finished();
}
