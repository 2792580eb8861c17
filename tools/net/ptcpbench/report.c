// SPDX-License-Identifier: GPL-2.0
/*
 * Figures out of the window's two samples, for people and as JSON. A figure
 * that was not measured is null there, never 0.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "histogram.h"
#include "report.h"

/* What was measured between the edges. */
struct figures {
	double seconds;
	uint64_t moved;		/* bytes, or requests */
	uint64_t retrans;
	double fairness;
	double *thread_moved;
	double *nic_moved;
	struct histogram *latency;	/* NULL: not measured here */
	bool system;
	uint64_t ctxsw;
	double cpu[NR_CPU_STATES];
	uint64_t voluntary, involuntary;
	double cpu_user, cpu_sys;
};

static const char *const cpu_names[NR_CPU_STATES] = {
	"user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal",
};

static double per_second(double count, double seconds)
{
	return seconds > 0 ? count / seconds : 0;
}

static double mbps(double bytes, double seconds)
{
	return per_second(bytes * 8 / 1e6, seconds);
}

/* Mb/s, or requests per second. */
static double rate(const struct options *opt, double moved, double seconds)
{
	return opt->mode == MODE_STREAM ? mbps(moved, seconds) :
					  per_second(moved, seconds);
}

/* and in JSON */
static const char *rate_name(const struct options *opt)
{
	return opt->mode == MODE_STREAM ? "mbps" : "rps";
}

static const char *rate_unit(const struct options *opt)
{
	return opt->mode == MODE_STREAM ? "Mb/s" : "requests/s";
}

static double seconds_of(struct timeval tv)
{
	return tv.tv_sec + tv.tv_usec / 1e6;
}

void report_progress(struct run *run, const struct window *window)
{
	static double last_time;
	static uint64_t last_moved;
	const char *phase = "running";
	uint64_t moved = run_moved(run);
	double time = now();

	if (run->opt->role == ROLE_SERVE || run->opt->mode != MODE_STREAM)
		phase = window->closed ? "draining" :
			window->opened ? "measuring" : "warming up";
	fprintf(stderr, "ptcpbench %s: %6.1f s %-10s %10.1f %s, %u of %u connections done\n",
		role_name(run->opt->role), time - run->started_at, phase,
		rate(run->opt, moved - last_moved,
		     time - (last_time ? last_time : run->started_at)),
		rate_unit(run->opt), atomic_load(&run->done),
		own_of(run->opt, run->opt->conns));
	last_time = time;
	last_moved = moved;
}

static const struct flow *flow_of(const struct run *run,
				  const struct window *window,
				  const struct conn *conn)
{
	return &window->flows[conn - run->conns];
}

/* What counts of what it moved. */
static uint64_t measured(const struct run *run, const struct window *window,
			 const struct conn *conn)
{
	const struct flow *flow;

	if (run->opt->mode != MODE_STREAM)
		return conn->measured;
	flow = flow_of(run, window, conn);
	return flow->bytes[CLOSE] - flow->bytes[OPEN];
}

/*
 * Jain's index: 1 when all connections got the same, 1/n when one got all.
 * Connections that all move the same number of bytes (-b) are compared by how
 * fast they did.
 */
static double fairness(const struct run *run, const struct window *window)
{
	const struct conn *conn;
	double sum = 0, squares = 0, x;
	unsigned int count = 0;

	for (conn = next_conn(run, NULL); conn; conn = next_conn(run, conn)) {
		if (conn->target == UINT64_MAX)
			x = measured(run, window, conn);
		else
			x = conn->target / (conn->finished_at - run->started_at);
		sum += x;
		squares += x * x;
		count++;
	}
	return squares > 0 ? sum * sum / (count * squares) : 0;
}

static struct histogram *get_latency(const struct run *run)
{
	struct histogram *all;

	if (!run->workers[0].latency)
		return NULL;
	all = calloc(1, sizeof(*all));
	if (!all)
		die(EXIT_RUN, "out of memory for the result");
	for (unsigned int n = 0; n < run->opt->threads; n++)
		histogram_add(all, run->workers[n].latency);
	return all;
}

static void get_figures(const struct run *run, const struct window *window,
			struct figures *fig)
{
	const struct sample *open = &window->edge[OPEN];
	const struct sample *close = &window->edge[CLOSE];
	const struct conn *conn;

	*fig = (struct figures){
		.seconds = close->time - open->time,
		.fairness = fairness(run, window),
		.thread_moved = calloc(run->opt->threads, sizeof(double)),
		.nic_moved = calloc(run->opt->nr_nics, sizeof(double)),
		.latency = get_latency(run),
		.system = open->system && close->system,
		.ctxsw = close->ctxsw - open->ctxsw,
		.voluntary = close->self.ru_nvcsw - open->self.ru_nvcsw,
		.involuntary = close->self.ru_nivcsw - open->self.ru_nivcsw,
		.cpu_user = seconds_of(close->self.ru_utime) -
			    seconds_of(open->self.ru_utime),
		.cpu_sys = seconds_of(close->self.ru_stime) -
			   seconds_of(open->self.ru_stime),
	};
	if (!fig->thread_moved || !fig->nic_moved)
		die(EXIT_RUN, "out of memory for the result");
	for (int i = 0; i < NR_CPU_STATES; i++)
		fig->cpu[i] = close->cpu[i] - open->cpu[i];
	for (conn = next_conn(run, NULL); conn; conn = next_conn(run, conn)) {
		uint64_t moved = measured(run, window, conn);

		fig->moved += moved;
		fig->thread_moved[conn->worker->index] += moved;
		fig->nic_moved[conn->nic] += moved;
		if (window->flows) {
			const struct flow *flow = flow_of(run, window, conn);

			fig->retrans += flow->retrans[CLOSE] -
					flow->retrans[OPEN];
		}
	}
}

static void free_figures(struct figures *fig)
{
	free(fig->thread_moved);
	free(fig->nic_moved);
	free(fig->latency);
}

static double busy(const struct figures *fig)
{
	double sum = 0;

	for (int i = 0; i < NR_CPU_STATES; i++)
		if (i != CPU_IDLE && i != CPU_IOWAIT)
			sum += fig->cpu[i];
	return sum;
}

static uint64_t total_moved(const struct run *run)
{
	const struct conn *conn;
	uint64_t total = 0;

	for (conn = next_conn(run, NULL); conn; conn = next_conn(run, conn))
		total += conn->moved;
	return total;
}

/* Whose retransmits are known: serve's, of connections that stay. */
static bool knows_retransmits(const struct options *opt)
{
	return opt->role == ROLE_SERVE && opt->mode != MODE_CRR;
}

/* Places that serve keeps for connections to come are none. */
static bool knows_fairness(const struct options *opt)
{
	return !keeps_listening(opt);
}

static bool verifies(const struct options *opt)
{
	return opt->role == ROLE_SINK || opt->mode != MODE_STREAM;
}

/* What --json calls them, and the text; in thousandths of all. */
static const struct {
	const char *name;
	unsigned int permille;
} quantiles[] = {
	{ "p50", 500 }, { "p90", 900 }, { "p99", 990 }, { "p99.9", 999 },
};

static double microseconds(uint64_t nanoseconds)
{
	return nanoseconds / 1e3;
}

static void print_latency(FILE *out, const struct histogram *latency)
{
	fprintf(out, "  latency (us)     ");
	for (size_t i = 0; i < sizeof(quantiles) / sizeof(*quantiles); i++)
		fprintf(out, " %s %.1f,", quantiles[i].name,
			microseconds(histogram_quantile(latency,
							quantiles[i].permille)));
	fprintf(out, " max %.1f\n", microseconds(latency->max));
}

static void print_text(FILE *out, const struct run *run,
		       const struct figures *fig)
{
	const struct options *opt = run->opt;
	const char *unit = opt->mode == MODE_STREAM ? "Mb/s" : "1/s";

	fprintf(out, "ptcpbench %s: %.2f %s in %.2f s, ", role_name(opt->role),
		rate(opt, fig->moved, fig->seconds), rate_unit(opt),
		fig->seconds);
	if (opt->mode != MODE_STREAM)
		fprintf(out, "%s, requests of %" PRIu64 " and responses of %" PRIu64 " bytes, ",
			mode_name(opt->mode), opt->request, opt->response);
	fprintf(out, "%u connections, %u threads, %u addresses, %s\n",
		opt->conns, opt->threads, opt->nr_nics,
		verifies(opt) ?
			opt->verify ? "every byte checked" : "not checked" :
			opt->use_write ? "write" : "sendfile");
	if (fig->latency)
		print_latency(out, fig->latency);
	fprintf(out, "  threads (%s)   ", unit);
	for (unsigned int n = 0; n < opt->threads; n++)
		fprintf(out, " %.2f",
			rate(opt, fig->thread_moved[n], fig->seconds));
	fprintf(out, "\n  addresses (%s) ", unit);
	for (unsigned int n = 0; n < opt->nr_nics; n++)
		fprintf(out, " %s %.2f", opt->nics[n],
			rate(opt, fig->nic_moved[n], fig->seconds));
	fprintf(out, "\n  %-8s          %" PRIu64 " measured, %" PRIu64 " in all\n",
		opt->mode == MODE_STREAM ? "bytes" : "requests", fig->moved,
		total_moved(run));
	if (knows_fairness(opt))
		fprintf(out, "  fairness (Jain)   %.4f\n", fig->fairness);
	if (knows_retransmits(opt))
		fprintf(out, "  retransmits       %" PRIu64 "\n", fig->retrans);
	fprintf(out, "  context switches  ");
	if (fig->system)
		fprintf(out, "%" PRIu64 " in the system, ", fig->ctxsw);
	fprintf(out, "%" PRIu64 " of this process\n",
		fig->voluntary + fig->involuntary);
	fprintf(out, "  CPU (s)           %.2f user, %.2f sys of this process",
		fig->cpu_user, fig->cpu_sys);
	if (fig->system)
		fprintf(out, "; system %.2f busy, %.2f of it softirq, %.2f idle",
			busy(fig), fig->cpu[CPU_SOFTIRQ],
			fig->cpu[CPU_IDLE] + fig->cpu[CPU_IOWAIT]);
	fprintf(out, "\n  elapsed           %.2f s, warm-up and draining included\n",
		run->ended_at - run->started_at);
}

static void json_string(FILE *out, const char *text)
{
	fputc('"', out);
	for (; *text; text++) {
		unsigned char c = *text;

		if (c == '"' || c == '\\')
			fprintf(out, "\\%c", c);
		else if (c < 0x20 || c >= 0x7f)
			fprintf(out, "\\u%04x", c);
		else
			fputc(c, out);
	}
	fputc('"', out);
}

static void json_rates(FILE *out, const struct options *opt, const char *of,
		       const double *moved, unsigned int count, double seconds)
{
	fprintf(out, " \"%s_%s\": [", rate_name(opt), of);
	for (unsigned int n = 0; n < count; n++)
		fprintf(out, "%s%.3f", n ? ", " : "",
			rate(opt, moved[n], seconds));
	fprintf(out, "],\n");
}

static void json_nulls(FILE *out, const char *const *names)
{
	for (; *names; names++)
		fprintf(out, " \"%s\": null,\n", *names);
}

static void json_latency(FILE *out, const struct histogram *latency)
{
	if (!latency) {
		fprintf(out, " \"latency_us\": null,\n");
		return;
	}
	fprintf(out, " \"latency_us\": {\"count\": %" PRIu64 ", \"mean\": %.3f, \"min\": %.3f",
		latency->count, microseconds(latency->sum) / latency->count,
		microseconds(latency->min));
	for (size_t i = 0; i < sizeof(quantiles) / sizeof(*quantiles); i++)
		fprintf(out, ", \"%s\": %.3f", quantiles[i].name,
			microseconds(histogram_quantile(latency,
							quantiles[i].permille)));
	fprintf(out, ", \"max\": %.3f},\n", microseconds(latency->max));
}

/* How many connections each thread has on each NIC. */
static void json_spread(FILE *out, const struct run *run)
{
	const struct options *opt = run->opt;
	const struct conn *conn;
	unsigned int *count;

	if (keeps_listening(opt)) {
		fprintf(out, " \"conns_thread_nic\": null,\n");
		return;
	}
	count = calloc(opt->threads * opt->nr_nics, sizeof(*count));
	if (!count)
		die(EXIT_RUN, "out of memory for the result");
	for (conn = next_conn(run, NULL); conn; conn = next_conn(run, conn))
		count[conn->worker->index * opt->nr_nics + conn->nic]++;
	fprintf(out, " \"conns_thread_nic\": [");
	for (unsigned int t = 0; t < opt->threads; t++)
		for (unsigned int n = 0; n < opt->nr_nics; n++)
			fprintf(out, "%s%u%s", n ? ", " : t ? ", [" : "[",
				count[t * opt->nr_nics + n],
				n == opt->nr_nics - 1 ? "]" : "");
	fprintf(out, "],\n");
	free(count);
}

/* Each has a figure in some modes only. */
static const char *const stream_names[] = {
	"bytes", "mbps", "mbps_thread", "mbps_nic", NULL
};

static const char *const request_names[] = {
	"requests", "rps", "rps_thread", "rps_nic", NULL
};

static void json_figures(FILE *out, const struct run *run,
			 const struct figures *fig)
{
	const struct options *opt = run->opt;

	fprintf(out, " \"seconds\": %.6f,\n \"%s\": %" PRIu64 ",\n \"%s\": %.3f,\n",
		fig->seconds, opt->mode == MODE_STREAM ? "bytes" : "requests",
		fig->moved, rate_name(opt),
		rate(opt, fig->moved, fig->seconds));
	json_rates(out, opt, "thread", fig->thread_moved, opt->threads,
		   fig->seconds);
	json_rates(out, opt, "nic", fig->nic_moved, opt->nr_nics, fig->seconds);
	json_nulls(out, opt->mode == MODE_STREAM ? request_names : stream_names);
	json_latency(out, fig->latency);
	if (knows_fairness(opt))
		fprintf(out, " \"fairness\": %.6f,\n", fig->fairness);
	else
		fprintf(out, " \"fairness\": null,\n");
	if (knows_retransmits(opt))
		fprintf(out, " \"retransmits\": %" PRIu64 ",\n", fig->retrans);
	else
		fprintf(out, " \"retransmits\": null,\n");
	fprintf(out, " \"ctxsw_self\": %" PRIu64 ",\n \"ctxsw_self_voluntary\": %" PRIu64 ",\n",
		fig->voluntary + fig->involuntary, fig->voluntary);
	fprintf(out, " \"cpu_user\": %.6f,\n \"cpu_sys\": %.6f,\n",
		fig->cpu_user, fig->cpu_sys);
	if (!fig->system) {
		fprintf(out, " \"ctxsw\": null,\n \"system\": null,\n");
		return;
	}
	fprintf(out, " \"ctxsw\": %" PRIu64 ",\n \"system\": {\"busy\": %.2f",
		fig->ctxsw, busy(fig));
	for (int i = 0; i < NR_CPU_STATES; i++)
		fprintf(out, ", \"%s\": %.2f", cpu_names[i], fig->cpu[i]);
	fprintf(out, "},\n");
}

static void json_no_figures(FILE *out)
{
	static const char *const names[] = {
		"seconds", "latency_us", "fairness", "retransmits",
		"ctxsw_self", "ctxsw_self_voluntary", "cpu_user", "cpu_sys",
		"ctxsw", "system", NULL
	};

	json_nulls(out, stream_names);
	json_nulls(out, request_names);
	json_nulls(out, names);
}

static void json_options(FILE *out, const struct options *opt)
{
	fprintf(out, " \"role\": \"%s\",\n \"open\": \"%s\",\n \"threads\": %u,\n \"conns\": %u,\n \"nics\": %u,\n",
		role_name(opt->role), opt->active ? "active" : "passive",
		opt->threads, opt->conns, opt->nr_nics);
	fprintf(out, " \"addresses\": [");
	for (unsigned int n = 0; n < opt->nr_nics; n++) {
		fprintf(out, n ? ", " : "");
		json_string(out, opt->nics[n]);
	}
	fprintf(out, "],\n");
	fprintf(out, " \"mode\": \"%s\",\n", mode_name(opt->mode));
	if (opt->mode == MODE_STREAM)
		fprintf(out, " \"request\": null,\n \"response\": null,\n");
	else
		fprintf(out, " \"request\": %" PRIu64 ",\n \"response\": %" PRIu64 ",\n",
			opt->request, opt->response);
	if (opt->mode == MODE_STREAM && opt->role == ROLE_SERVE)
		fprintf(out, " \"call\": \"%s\",\n",
			opt->use_write ? "write" : "sendfile");
	else
		fprintf(out, " \"call\": null,\n");
	fprintf(out, " \"verify\": %s,\n", !verifies(opt) ? "null" :
		opt->verify ? "true" : "false");
	if (!measures(opt))
		fprintf(out, " \"duration\": null,\n \"bytes_asked\": null,\n \"warmup\": null,\n");
	else if (opt->bytes)
		fprintf(out, " \"duration\": null,\n \"bytes_asked\": %" PRIu64 ",\n \"warmup_percent\": %g,\n \"warmup\": null,\n",
			opt->bytes, opt->warmup);
	else
		fprintf(out, " \"duration\": %g,\n \"bytes_asked\": null,\n \"warmup\": %g,\n",
			opt->duration, opt->warmup);
}

static void print_json(FILE *out, const struct run *run,
		       const struct figures *fig)
{
	bool stream = run->opt->mode == MODE_STREAM;

	fprintf(out, "{\n");
	json_options(out, run->opt);
	json_spread(out, run);
	if (fig)
		json_figures(out, run, fig);
	else
		json_no_figures(out);
	if (run->started_at)
		fprintf(out, " \"elapsed\": %.6f,\n",
			run->ended_at - run->started_at);
	else
		fprintf(out, " \"elapsed\": null,\n");
	fprintf(out, " \"total_%s\": %" PRIu64 ",\n \"total_%s\": null,\n \"ok\": %s,\n \"errors\": [",
		stream ? "bytes" : "requests", total_moved(run),
		stream ? "requests" : "bytes",
		run->nr_errors ? "false" : "true");
	for (unsigned int i = 0; i < run->nr_errors && i < MAX_ERRORS; i++) {
		fprintf(out, i ? ", " : "");
		json_string(out, run->errors[i]);
	}
	fprintf(out, "]\n}\n");
}

/* The file appears whole or not at all. */
static void write_json_file(struct run *run, const struct figures *fig)
{
	const char *path = run->opt->json_file;
	char *temp;
	FILE *file;
	bool ok;

	if (asprintf(&temp, "%s.tmp", path) < 0)
		die(EXIT_RUN, "out of memory for the result");
	file = fopen(temp, "we");
	if (file)
		print_json(file, run, fig);
	ok = file && !ferror(file);
	ok = file && !fclose(file) && ok;
	if (!ok || rename(temp, path))
		run_fail(run, "--json=%s: %s", path, strerror(errno));
	free(temp);
}

void report_result(struct run *run, const struct window *window)
{
	const struct options *opt = run->opt;
	struct figures fig;
	bool whole = window->closed && !run->nr_errors;

	if (whole) {
		get_figures(run, window, &fig);
		/* stdout stays JSON's when that goes there */
		print_text(opt->json && !opt->json_file ? stderr : stdout, run, &fig);
	}
	if (opt->json && opt->json_file)
		write_json_file(run, whole ? &fig : NULL);
	else if (opt->json)
		print_json(stdout, run, whole ? &fig : NULL);
	if (whole)
		free_figures(&fig);
	if (fflush(stdout) || ferror(stdout))
		run_fail(run, "cannot write the result: %s", strerror(errno));
}
