// SPDX-License-Identifier: GPL-2.0
/*
 * The command line: parsed and checked as a whole before anything is done,
 * so that a bad one changes nothing.
 */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fail.h"
#include "options.h"
#include "stream.h"

static const char help[] =
"ptcpbench - parallel TCP benchmark: many connections, threads and NICs\n"
"\n"
"  ptcpbench serve [options]      on the system under test: accepts, sends\n"
"  ptcpbench sink -a ADDR [...]   on the other side: connects, discards\n"
"\n"
"Both ends take the same --mode, -c, --request and --response, the same\n"
"addresses in the same order, and --active at both or at neither.\n"
"\n"
"Modes\n"
"  -m, --mode stream      serve sends all it can, for throughput (default)\n"
"             rr          the sink sends requests and serve answers, for\n"
"                         latency: one request under way on each connection,\n"
"                         the next follows when the response is there\n"
"             crr         the same with a new connection for each request, for\n"
"                         the connection rate: connect, request, response,\n"
"                         close. serve closes first, so TIME_WAIT is at its\n"
"                         side (net.ipv4.tcp_max_tw_buckets), and the sink's\n"
"                         ports are soon free again: it needs as many as -c,\n"
"                         for each address\n"
"\n"
"Connections\n"
"  -a, --address LIST     the listening end's addresses, one a NIC, separated\n"
"                         by commas; IPv4 or IPv6, numeric (default for the\n"
"                         listening end: any address, counted as one NIC)\n"
"  -p, --port N           TCP port (default 5010; 0 when listening: any free\n"
"                         one, written to the --ready file)\n"
"  -c, --connections N    in all, up to 65536 (default 6); spread evenly over\n"
"                         the addresses and the threads, so that every thread\n"
"                         uses every address as far as the number allows\n"
"  -t, --threads N        default: the CPUs this process may use, but no more\n"
"                         than connections\n"
"  -A, --active           turn the open around: serve connects, sink listens;\n"
"                         the data still flows from serve to sink, requests\n"
"                         from sink to serve; not with crr\n"
"      --timeout S        to establish all connections (default 60)\n"
"      --stall S          longest time a connection may make no progress\n"
"                         (default 120: thousands of connections on a slow\n"
"                         machine may each wait that long for their turn)\n"
"\n"
"Requests (rr and crr), at both ends\n"
"      --request N[k|M]   bytes of a request (default 1), up to 1G\n"
"      --response N[k|M]  and of a response (default 1)\n"
"\n"
"serve only, with rr and crr sink only\n"
"  -d, --duration S       measure for S seconds (default 180)\n"
"  -w, --warmup N         excluded from the figures: N seconds before -d\n"
"                         (default 2), or the first N per cent of the bytes\n"
"                         of -b (default 10); 0 for none\n"
"\n"
"serve only, mode stream\n"
"  -b, --bytes N[k|M|G]   or until N bytes are delivered, in all, an equal\n"
"                         part by each connection (suffixes are powers of\n"
"                         1024)\n"
"      --write            send with write() from the same data instead of\n"
"                         sendfile()\n"
"      --file-size N[k|M] size of each thread's file (default 1M: larger than\n"
"                         a connection's buffers at both ends, so that nothing\n"
"                         in flight at one time repeats, small enough for\n"
"                         caches and small guests)\n"
"      --dir DIR          make the files in DIR (default: in memory, memfd)\n"
"\n"
"sink only, mode stream\n"
"      --only LIST        connect to these of the addresses, with their part of\n"
"                         the connections; the others are left to sinks on\n"
"                         other machines, with the same -a and -c\n"
"\n"
"sink only, with rr and crr either end\n"
"      --verify           check every byte of what arrives\n"
"\n"
"Output\n"
"      --json[=FILE]      the result as JSON, to stdout or FILE\n"
"      --progress         a line each second even if stderr is no terminal\n"
"      --ready FILE       the listening end writes its port here when it\n"
"                         listens; the file appears whole\n"
"  -h, --help             this text\n"
"\n"
"serve's figures are payload acknowledged by the receiver within the measured\n"
"window, which begins after the last connection is established and the\n"
"warm-up is over. With -d it lasts that long and fairness compares the bytes\n"
"of the connections; with -b it ends when the sink has confirmed the last\n"
"stream, and fairness compares the connections' own rates from start to end.\n"
"sink's figures cover the whole run, warm-up included.\n"
"\n"
"With rr and crr the figures of both ends are the requests made within the\n"
"sink's window, each with the whole time that it took: from just before it was\n"
"sent, with crr from just before connect(), until its response was there. The\n"
"sink's percentiles are right to three digits, its count and maximum exactly.\n"
"\n"
"Exit codes\n"
"  0  every stream or response arrived whole (and, with --verify, unchanged)\n"
"  1  a connection was lost, stalled, or its stream short or wrong, or the\n"
"     run was interrupted; the reasons are on stderr and in the JSON\n"
"  2  bad usage\n"
"  3  could not start: a limit, an address, or not all connections came up\n";

static __noreturn __printf(1, 2)
void usage(const char *fmt, ...)
{
	va_list ap;

	fputs("ptcpbench: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputs("; see ptcpbench --help\n", stderr);
	exit(EXIT_USAGE);
}

static unsigned int parse_count(const char *name, const char *text,
				unsigned int min, unsigned int max)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || end == text || *end || *text == '-' ||
	    value < min || value > max)
		usage("%s %s: expected a whole number from %u to %u",
		      name, text, min, max);
	return value;
}

static double parse_number(const char *name, const char *text, double min)
{
	double value;
	char *end;

	value = strtod(text, &end);
	if (end == text || *end || !isfinite(value) || value < min ||
	    value > 1e6)
		usage("%s %s: expected a number from %g to 1000000",
		      name, text, min);
	return value;
}

static uint64_t parse_size(const char *name, const char *text)
{
	static const char suffixes[] = "kMG";
	unsigned long long value;
	const char *suffix;
	unsigned int shift = 0;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (end != text && *end) {
		suffix = strchr(suffixes, *end == 'K' ? 'k' : *end);
		if (suffix) {
			shift = 10 * (suffix - suffixes + 1);
			end++;
		}
	}
	if (errno || end == text || *end || *text == '-' || !value ||
	    value > (UINT64_MAX >> 1) >> shift)
		usage("%s %s: expected a number of bytes, with k, M or G for powers of 1024",
		      name, text);
	return value << shift;
}

/* For strsep(). */
static char *copy_list(const char *list)
{
	char *copy = strdup(list);

	if (!copy)
		die(EXIT_SETUP, "out of memory");
	return copy;
}

static void parse_addresses(struct options *opt, const char *list)
{
	char *rest = copy_list(list), *item;

	while ((item = strsep(&rest, ","))) {
		if (!*item)
			usage("-a %s: an address is empty", list);
		if (opt->nr_nics == MAX_NICS)
			usage("-a: more than %d addresses", MAX_NICS);
		for (unsigned int n = 0; n < opt->nr_nics; n++)
			if (!strcmp(opt->nics[n], item))
				usage("-a %s: %s is there twice", list, item);
		opt->nics[opt->nr_nics++] = item;
	}
}

static void choose_addresses(struct options *opt, const char *list)
{
	char *copy = copy_list(list), *rest = copy, *item;

	for (unsigned int n = 0; n < opt->nr_nics; n++)
		opt->others[n] = true;
	while ((item = strsep(&rest, ","))) {
		unsigned int n = 0;

		while (n < opt->nr_nics && strcmp(opt->nics[n], item))
			n++;
		if (n == opt->nr_nics)
			usage("--only %s: %s is not one of -a", list,
			      *item ? item : "nothing");
		opt->others[n] = false;
	}
	free(copy);
}

/* Without IPv6 in the kernel, that of IPv4. */
static char *any_address(void)
{
	int fd = socket(AF_INET6, SOCK_STREAM, 0);

	if (fd < 0)
		return "0.0.0.0";
	close(fd);
	return "::";
}

/* CPUs this process may run on: what a container or taskset leaves us. */
static unsigned int usable_cpus(void)
{
	unsigned int count;
	cpu_set_t *set;
	size_t size;

	/* The kernel's mask may be larger than cpu_set_t: grow until it fits */
	for (unsigned int cpus = 1024; cpus <= 1 << 20; cpus *= 2) {
		set = CPU_ALLOC(cpus);
		size = CPU_ALLOC_SIZE(cpus);
		if (set && !sched_getaffinity(0, size, set)) {
			count = CPU_COUNT_S(size, set);
			CPU_FREE(set);
			return count;
		}
		CPU_FREE(set);
	}
	return 1;
}

enum {
	OPT_WRITE = 256, OPT_FILE_SIZE, OPT_DIR, OPT_VERIFY, OPT_JSON,
	OPT_PROGRESS, OPT_READY, OPT_TIMEOUT, OPT_STALL, OPT_REQUEST,
	OPT_RESPONSE, OPT_ONLY, NR_OPTS
};

static const struct option longopts[] = {
	{ "address",	 required_argument, NULL, 'a' },
	{ "port",	 required_argument, NULL, 'p' },
	{ "connections", required_argument, NULL, 'c' },
	{ "threads",	 required_argument, NULL, 't' },
	{ "active",	 no_argument,	    NULL, 'A' },
	{ "mode",	 required_argument, NULL, 'm' },
	{ "request",	 required_argument, NULL, OPT_REQUEST },
	{ "response",	 required_argument, NULL, OPT_RESPONSE },
	{ "timeout",	 required_argument, NULL, OPT_TIMEOUT },
	{ "stall",	 required_argument, NULL, OPT_STALL },
	{ "duration",	 required_argument, NULL, 'd' },
	{ "bytes",	 required_argument, NULL, 'b' },
	{ "warmup",	 required_argument, NULL, 'w' },
	{ "write",	 no_argument,	    NULL, OPT_WRITE },
	{ "file-size",	 required_argument, NULL, OPT_FILE_SIZE },
	{ "dir",	 required_argument, NULL, OPT_DIR },
	{ "only",	 required_argument, NULL, OPT_ONLY },
	{ "verify",	 no_argument,	    NULL, OPT_VERIFY },
	{ "json",	 optional_argument, NULL, OPT_JSON },
	{ "progress",	 no_argument,	    NULL, OPT_PROGRESS },
	{ "ready",	 required_argument, NULL, OPT_READY },
	{ "help",	 no_argument,	    NULL, 'h' },
	{ }
};

#define SERVE	(1 << ROLE_SERVE)
#define SINK	(1 << ROLE_SINK)

/* The ends that know what to do with these, in mode stream and in the others. */
static const struct {
	int option;
	const char *name;
	unsigned int stream, requests;
} owners[] = {
	{ 'd', "-d", SERVE, SINK },
	{ 'w', "-w", SERVE, SINK },
	{ 'b', "-b", SERVE, 0 },
	{ OPT_WRITE, "--write", SERVE, 0 },
	{ OPT_FILE_SIZE, "--file-size", SERVE, 0 },
	{ OPT_DIR, "--dir", SERVE, 0 },
	{ OPT_ONLY, "--only", SINK, 0 },
	{ OPT_VERIFY, "--verify", SINK, SERVE | SINK },
	{ OPT_REQUEST, "--request", 0, SERVE | SINK },
	{ OPT_RESPONSE, "--response", 0, SERVE | SINK },
};

/* The mode may come behind them. */
static void check_owners(const struct options *opt, const bool *given)
{
	for (size_t i = 0; i < sizeof(owners) / sizeof(*owners); i++) {
		unsigned int owner = opt->mode == MODE_STREAM ?
				     owners[i].stream : owners[i].requests;

		if (!given[owners[i].option] || owner & 1 << opt->role)
			continue;
		if (!owner)
			usage("%s: not with --mode %s", owners[i].name,
			      mode_name(opt->mode));
		usage("%s belongs to ptcpbench %s", owners[i].name,
		      role_name(other_role(opt->role)));
	}
}

static enum mode parse_mode(const char *text)
{
	for (enum mode mode = MODE_STREAM; mode <= MODE_CRR; mode++)
		if (!strcmp(text, mode_name(mode)))
			return mode;
	usage("-m %s: expected stream, rr or crr", text);
}

static uint64_t parse_message(const char *name, const char *text)
{
	uint64_t size = parse_size(name, text);

	if (size > STREAM_FILE_MAX)
		usage("%s %s: expected at most %d M", name, text,
		      STREAM_FILE_MAX >> 20);
	return size;
}

static void parse_role(struct options *opt, int argc, char **argv)
{
	if (argc >= 2 && (!strcmp(argv[1], "-h") || !strcmp(argv[1], "--help"))) {
		fputs(help, stdout);
		exit(EXIT_OK);
	}
	if (argc < 2)
		usage("expected serve or sink");
	if (!strcmp(argv[1], "serve"))
		opt->role = ROLE_SERVE;
	else if (!strcmp(argv[1], "sink"))
		opt->role = ROLE_SINK;
	else
		usage("%s: expected serve or sink", argv[1]);
}

/* What only makes sense together, and the defaults that depend on others. */
static void complete(struct options *opt, const char *only)
{
	if (measures(opt)) {
		if (opt->duration && opt->bytes)
			usage("-d and -b: give one of them");
		if (!opt->duration && !opt->bytes)
			opt->duration = 180;
		if (opt->warmup < 0)
			opt->warmup = opt->bytes ? 10 : 2;
		if (opt->bytes && opt->warmup >= 100)
			usage("-w %g: with -b this is a percentage, less than 100",
			      opt->warmup);
		if (opt->bytes && opt->bytes < opt->conns)
			usage("-b: fewer bytes than connections");
		if (opt->file_size % STREAM_PAGE || opt->file_size > STREAM_FILE_MAX)
			usage("--file-size: expected a multiple of %d, at most %d M",
			      STREAM_PAGE, STREAM_FILE_MAX >> 20);
	}
	if (opt->mode == MODE_CRR && opt->active)
		usage("-A: with crr it is the sink that connects");
	if (opt->mode != MODE_STREAM) {
		opt->request = opt->request ?: 1;
		opt->response = opt->response ?: 1;
	}
	if (!opt->nr_nics) {
		if (!listens(opt))
			usage("-a: this end connects and needs the other's addresses");
		opt->nics[opt->nr_nics++] = any_address();
	}
	if (opt->conns < opt->nr_nics)
		usage("-c %u: fewer connections than the %u addresses",
		      opt->conns, opt->nr_nics);
	if (!opt->port && !listens(opt))
		usage("-p 0: this end connects and needs the other's port");
	if (opt->ready && !listens(opt))
		usage("--ready: this end does not listen");
	if (only && opt->active)
		usage("--only: with -A it is serve that connects");
	if (only)
		choose_addresses(opt, only);
	if (opt->threads > opt->conns)
		usage("-t %u: more threads than the %u connections",
		      opt->threads, opt->conns);
	if (!opt->threads)
		opt->threads = usable_cpus();
	if (opt->threads > MAX_THREADS)
		opt->threads = MAX_THREADS;
	if (opt->threads > own_of(opt, opt->conns))
		opt->threads = own_of(opt, opt->conns);
}

void options_parse(struct options *opt, int argc, char **argv)
{
	bool given[NR_OPTS] = { };
	const char *only = NULL;	/* of -a, which may come later */
	int c;

	*opt = (struct options){
		.port = 5010,
		.conns = 6,
		.warmup = -1,
		.file_size = 1 << 20,
		.timeout = 60,
		.stall = 120,
		.progress = isatty(STDERR_FILENO),
	};
	parse_role(opt, argc, argv);

	/* getopt's own messages name the option; 2 is past the role */
	argv[1] = argv[0];
	while ((c = getopt_long(argc - 1, argv + 1, "a:p:c:t:Am:d:b:w:h",
				longopts, NULL)) != -1) {
		given[c] = true;
		switch (c) {
		case 'a':
			parse_addresses(opt, optarg);
			break;
		case 'p':
			opt->port = parse_count("-p", optarg, 0, 65535);
			break;
		case 'c':
			opt->conns = parse_count("-c", optarg, 1, MAX_CONNS);
			break;
		case 't':
			opt->threads = parse_count("-t", optarg, 1, MAX_THREADS);
			break;
		case 'A':
			opt->active = true;
			break;
		case 'm':
			opt->mode = parse_mode(optarg);
			break;
		case OPT_REQUEST:
			opt->request = parse_message("--request", optarg);
			break;
		case OPT_RESPONSE:
			opt->response = parse_message("--response", optarg);
			break;
		case OPT_TIMEOUT:
			opt->timeout = parse_number("--timeout", optarg, 0.1);
			break;
		case OPT_STALL:
			opt->stall = parse_number("--stall", optarg, 0.1);
			break;
		case 'd':
			opt->duration = parse_number("-d", optarg, 0.1);
			break;
		case 'b':
			opt->bytes = parse_size("-b", optarg);
			break;
		case 'w':
			opt->warmup = parse_number("-w", optarg, 0);
			break;
		case OPT_WRITE:
			opt->use_write = true;
			break;
		case OPT_FILE_SIZE:
			opt->file_size = parse_size("--file-size", optarg);
			break;
		case OPT_DIR:
			opt->dir = optarg;
			break;
		case OPT_ONLY:
			only = optarg;
			break;
		case OPT_VERIFY:
			opt->verify = true;
			break;
		case OPT_JSON:
			opt->json = true;
			opt->json_file = optarg;
			break;
		case OPT_PROGRESS:
			opt->progress = true;
			break;
		case OPT_READY:
			opt->ready = optarg;
			break;
		case 'h':
			fputs(help, stdout);
			exit(EXIT_OK);
		default:
			exit(EXIT_USAGE);
		}
	}
	if (optind < argc - 1)
		usage("%s: unexpected", argv[1 + optind]);
	check_owners(opt, given);
	complete(opt, only);
}
