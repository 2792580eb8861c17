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
#include "report.h"

/* What was measured between the edges. */
struct figures {
	double seconds;
	uint64_t bytes;
	uint64_t retrans;
	double fairness;
	double *thread_bytes;
	double *nic_bytes;
	bool system;
	uint64_t ctxsw;
	double cpu[NR_CPU_STATES];
	uint64_t voluntary, involuntary;
	double cpu_user, cpu_sys;
};

static const char *const cpu_names[NR_CPU_STATES] = {
	"user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal",
};

static double mbps(double bytes, double seconds)
{
	return seconds > 0 ? bytes * 8 / 1e6 / seconds : 0;
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
	double time = now();
	uint64_t moved = 0;

	for (unsigned int n = 0; n < run->opt->threads; n++)
		moved += atomic_load_explicit(&run->workers[n].moved,
					      memory_order_relaxed);
	if (run->opt->role == ROLE_SERVE)
		phase = window->closed ? "draining" :
			window->opened ? "measuring" : "warming up";
	fprintf(stderr, "ptcpbench %s: %6.1f s %-10s %10.1f Mb/s, %u of %u connections done\n",
		role_name(run->opt->role), time - run->started_at, phase,
		mbps(moved - last_moved,
		     time - (last_time ? last_time : run->started_at)),
		atomic_load(&run->done), run->opt->conns);
	last_time = time;
	last_moved = moved;
}

static uint64_t flow_bytes(const struct flow *flow)
{
	return flow->bytes[CLOSE] - flow->bytes[OPEN];
}

/*
 * Jain's index: 1 when all connections got the same, 1/n when one got all.
 * Connections that all move the same number of bytes (-b) are compared by how
 * fast they did.
 */
static double fairness(const struct run *run, const struct window *window)
{
	double sum = 0, squares = 0, x;

	for (unsigned int i = 0; i < run->opt->conns; i++) {
		const struct conn *conn = &run->conns[i];

		if (conn->target == UINT64_MAX)
			x = flow_bytes(&window->flows[i]);
		else
			x = conn->target / (conn->finished_at - run->started_at);
		sum += x;
		squares += x * x;
	}
	return squares > 0 ? sum * sum / (run->opt->conns * squares) : 0;
}

static void get_figures(const struct run *run, const struct window *window,
			struct figures *fig)
{
	const struct sample *open = &window->edge[OPEN];
	const struct sample *close = &window->edge[CLOSE];

	*fig = (struct figures){
		.seconds = close->time - open->time,
		.fairness = fairness(run, window),
		.thread_bytes = calloc(run->opt->threads, sizeof(double)),
		.nic_bytes = calloc(run->opt->nr_nics, sizeof(double)),
		.system = open->system && close->system,
		.ctxsw = close->ctxsw - open->ctxsw,
		.voluntary = close->self.ru_nvcsw - open->self.ru_nvcsw,
		.involuntary = close->self.ru_nivcsw - open->self.ru_nivcsw,
		.cpu_user = seconds_of(close->self.ru_utime) -
			    seconds_of(open->self.ru_utime),
		.cpu_sys = seconds_of(close->self.ru_stime) -
			   seconds_of(open->self.ru_stime),
	};
	if (!fig->thread_bytes || !fig->nic_bytes)
		die(EXIT_RUN, "out of memory for the result");
	for (int i = 0; i < NR_CPU_STATES; i++)
		fig->cpu[i] = close->cpu[i] - open->cpu[i];
	for (unsigned int i = 0; i < run->opt->conns; i++) {
		const struct conn *conn = &run->conns[i];
		const struct flow *flow = &window->flows[i];

		fig->bytes += flow_bytes(flow);
		fig->retrans += flow->retrans[CLOSE] - flow->retrans[OPEN];
		fig->thread_bytes[conn->worker->index] += flow_bytes(flow);
		fig->nic_bytes[conn->nic] += flow_bytes(flow);
	}
}

static void free_figures(struct figures *fig)
{
	free(fig->thread_bytes);
	free(fig->nic_bytes);
}

static double busy(const struct figures *fig)
{
	double sum = 0;

	for (int i = 0; i < NR_CPU_STATES; i++)
		if (i != CPU_IDLE && i != CPU_IOWAIT)
			sum += fig->cpu[i];
	return sum;
}

static uint64_t total_bytes(const struct run *run)
{
	uint64_t total = 0;

	for (unsigned int i = 0; i < run->opt->conns; i++)
		total += run->conns[i].moved;
	return total;
}

static void print_text(FILE *out, const struct run *run,
		       const struct figures *fig)
{
	const struct options *opt = run->opt;

	fprintf(out, "ptcpbench %s: %.2f Mb/s in %.2f s, %u connections, %u threads, %u addresses, %s\n",
		role_name(opt->role), mbps(fig->bytes, fig->seconds),
		fig->seconds, opt->conns, opt->threads, opt->nr_nics,
		opt->role == ROLE_SINK ?
			opt->verify ? "every byte checked" : "not checked" :
			opt->use_write ? "write" : "sendfile");
	fprintf(out, "  threads (Mb/s)   ");
	for (unsigned int n = 0; n < opt->threads; n++)
		fprintf(out, " %.2f", mbps(fig->thread_bytes[n], fig->seconds));
	fprintf(out, "\n  addresses (Mb/s) ");
	for (unsigned int n = 0; n < opt->nr_nics; n++)
		fprintf(out, " %s %.2f", opt->nics[n],
			mbps(fig->nic_bytes[n], fig->seconds));
	fprintf(out, "\n  bytes             %" PRIu64 " measured, %" PRIu64 " in all\n",
		fig->bytes, total_bytes(run));
	fprintf(out, "  fairness (Jain)   %.4f\n", fig->fairness);
	if (opt->role == ROLE_SERVE)
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

static void json_rates(FILE *out, const char *name, const double *bytes,
		       unsigned int count, double seconds)
{
	fprintf(out, " \"%s\": [", name);
	for (unsigned int n = 0; n < count; n++)
		fprintf(out, "%s%.3f", n ? ", " : "", mbps(bytes[n], seconds));
	fprintf(out, "],\n");
}

/* How many connections each thread has on each NIC. */
static void json_spread(FILE *out, const struct run *run)
{
	const struct options *opt = run->opt;
	unsigned int *count;

	count = calloc(opt->threads * opt->nr_nics, sizeof(*count));
	if (!count)
		die(EXIT_RUN, "out of memory for the result");
	for (unsigned int i = 0; i < opt->conns; i++)
		if (run->conns[i].worker)
			count[run->conns[i].worker->index * opt->nr_nics +
			      run->conns[i].nic]++;
	fprintf(out, " \"conns_thread_nic\": [");
	for (unsigned int t = 0; t < opt->threads; t++)
		for (unsigned int n = 0; n < opt->nr_nics; n++)
			fprintf(out, "%s%u%s", n ? ", " : t ? ", [" : "[",
				count[t * opt->nr_nics + n],
				n == opt->nr_nics - 1 ? "]" : "");
	fprintf(out, "],\n");
	free(count);
}

static void json_figures(FILE *out, const struct run *run,
			 const struct figures *fig)
{
	const struct options *opt = run->opt;

	fprintf(out, " \"seconds\": %.6f,\n \"bytes\": %" PRIu64 ",\n \"mbps\": %.3f,\n",
		fig->seconds, fig->bytes, mbps(fig->bytes, fig->seconds));
	json_rates(out, "mbps_thread", fig->thread_bytes, opt->threads, fig->seconds);
	json_rates(out, "mbps_nic", fig->nic_bytes, opt->nr_nics, fig->seconds);
	fprintf(out, " \"fairness\": %.6f,\n", fig->fairness);
	if (opt->role == ROLE_SERVE)
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
		"seconds", "bytes", "mbps", "mbps_thread", "mbps_nic",
		"fairness", "retransmits", "ctxsw_self", "ctxsw_self_voluntary",
		"cpu_user", "cpu_sys", "ctxsw", "system",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		fprintf(out, " \"%s\": null,\n", names[i]);
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
	if (opt->role == ROLE_SINK) {
		fprintf(out, " \"mode\": null,\n \"verify\": %s,\n \"duration\": null,\n \"bytes_asked\": null,\n \"warmup\": null,\n",
			opt->verify ? "true" : "false");
		return;
	}
	fprintf(out, " \"mode\": \"%s\",\n \"verify\": null,\n",
		opt->use_write ? "write" : "sendfile");
	if (opt->bytes)
		fprintf(out, " \"duration\": null,\n \"bytes_asked\": %" PRIu64 ",\n \"warmup_percent\": %g,\n \"warmup\": null,\n",
			opt->bytes, opt->warmup);
	else
		fprintf(out, " \"duration\": %g,\n \"bytes_asked\": null,\n \"warmup\": %g,\n",
			opt->duration, opt->warmup);
}

static void print_json(FILE *out, const struct run *run,
		       const struct figures *fig)
{
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
	fprintf(out, " \"total_bytes\": %" PRIu64 ",\n \"ok\": %s,\n \"errors\": [",
		total_bytes(run), run->nr_errors ? "false" : "true");
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
