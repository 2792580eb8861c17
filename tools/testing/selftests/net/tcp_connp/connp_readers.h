/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Ways to go over all TCP sockets of the namespace, which take the locks of the
 * table of established connections in other orders than TCP itself: /proc,
 * socket diagnostics (what ss uses), BPF's iterator, and killing them.
 *
 * Each returns how many sockets it has come across, listeners included.
 */
#ifndef CONNP_READERS_H
#define CONNP_READERS_H

#include <linux/bpf.h>
#include <linux/btf.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "connp.h"

static inline unsigned int connp_read_proc_file(const char *path)
{
	FILE *f = fopen(path, "r");
	unsigned int n = 0;
	char line[512];

	/* The first line is the header. */
	while (f && fgets(line, sizeof(line), f))
		n++;
	if (f)
		fclose(f);
	return n ? n - 1 : 0;
}

static inline unsigned int connp_read_proc(void)
{
	return connp_read_proc_file("/proc/net/tcp") +
	       connp_read_proc_file("/proc/net/tcp6");
}

struct connp_diag {
	struct nlmsghdr nlh;
	struct inet_diag_req_v2 req;
};

static inline int connp_diag_open(void)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC,
			NETLINK_SOCK_DIAG);

	if (fd < 0)
		ksft_exit_fail_perror("NETLINK_SOCK_DIAG");
	return fd;
}

static inline void connp_diag_send(int fd, struct connp_diag *diag,
				   unsigned short type, unsigned short flags)
{
	diag->nlh.nlmsg_len = sizeof(*diag);
	diag->nlh.nlmsg_type = type;
	diag->nlh.nlmsg_flags = NLM_F_REQUEST | flags;
	diag->req.sdiag_protocol = IPPROTO_TCP;
	if (send(fd, diag, sizeof(*diag), 0) != sizeof(*diag))
		ksft_exit_fail_perror("a request for diagnostics");
}

/* Of one family, with all that ss -ti shows; @each is told of every socket. */
static inline unsigned int
connp_diag_dump(unsigned char family, void (*each)(struct inet_diag_msg *msg))
{
	struct nlmsghdr buf[2048];
	struct connp_diag diag = {
		.req.sdiag_family = family,
		.req.idiag_ext = 0xff,
		.req.idiag_states = ~0u,
	};
	int fd = connp_diag_open();
	unsigned int n = 0;
	bool done = false;

	connp_diag_send(fd, &diag, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP);
	while (!done) {
		ssize_t len = recv(fd, buf, sizeof(buf), 0);
		struct nlmsghdr *nlh = buf;

		if (len <= 0)
			ksft_exit_fail_perror("reading diagnostics");
		for (; NLMSG_OK(nlh, len); nlh = NLMSG_NEXT(nlh, len)) {
			if (nlh->nlmsg_type == NLMSG_ERROR)
				ksft_exit_fail_msg("diagnostics: refused\n");
			done |= nlh->nlmsg_type == NLMSG_DONE;
			if (nlh->nlmsg_type != SOCK_DIAG_BY_FAMILY)
				continue;
			n++;
			if (each)
				each(NLMSG_DATA(nlh));
		}
	}
	close(fd);
	return n;
}

static inline unsigned int connp_read_diag(void)
{
	return connp_diag_dump(AF_INET, NULL) + connp_diag_dump(AF_INET6, NULL);
}

/*
 * Kill it, whatever it is, as ss -K does: all but listeners. False if there is
 * nothing to kill; it may have gone by itself.
 */
static inline bool connp_kill(struct inet_diag_msg *msg)
{
	struct connp_diag diag = {
		.req.sdiag_family = msg->idiag_family,
		.req.idiag_states = 1 << msg->idiag_state,
		.req.id = msg->id,
	};
	struct {
		struct nlmsghdr nlh;
		struct nlmsgerr err;
		char request[1024];
	} answer;
	int fd;

	if (msg->idiag_state == TCP_LISTEN)
		return false;
	fd = connp_diag_open();
	connp_diag_send(fd, &diag, SOCK_DESTROY, NLM_F_ACK);
	if (recv(fd, &answer, sizeof(answer), 0) < 0)
		ksft_exit_fail_perror("SOCK_DESTROY");
	close(fd);
	if (answer.nlh.nlmsg_type != NLMSG_ERROR)
		ksft_exit_fail_msg("SOCK_DESTROY: answered with type %u\n",
				   answer.nlh.nlmsg_type);
	errno = -answer.err.error;
	if (errno && errno != ENOENT && errno != ESTALE)
		ksft_exit_fail_perror("SOCK_DESTROY");
	return !errno;
}

static inline int connp_bpf(enum bpf_cmd cmd, union bpf_attr *attr)
{
	return syscall(__NR_bpf, cmd, attr, sizeof(*attr));
}

/* How many bytes follow a struct btf_type. */
static inline size_t connp_btf_more(const struct btf_type *t)
{
	unsigned int n = BTF_INFO_VLEN(t->info);

	switch (BTF_INFO_KIND(t->info)) {
	case BTF_KIND_INT:
		return 4;
	case BTF_KIND_ARRAY:
		return sizeof(struct btf_array);
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
		return n * sizeof(struct btf_member);
	case BTF_KIND_ENUM:
		return n * sizeof(struct btf_enum);
	case BTF_KIND_FUNC_PROTO:
		return n * sizeof(struct btf_param);
	case BTF_KIND_VAR:
		return sizeof(struct btf_var);
	case BTF_KIND_DATASEC:
		return n * sizeof(struct btf_var_secinfo);
	case BTF_KIND_DECL_TAG:
		return sizeof(struct btf_decl_tag);
	case BTF_KIND_ENUM64:
		return n * sizeof(struct btf_enum64);
	default:
		return 0;
	}
}

/* The number of a function in the kernel's BTF; 0 if there is none. */
static inline unsigned int connp_btf_func(const char *name)
{
	int fd = open("/sys/kernel/btf/vmlinux", O_RDONLY | O_CLOEXEC);
	const struct btf_header *header;
	const char *types, *end, *strings;
	unsigned int id, found = 0;
	struct stat stat;
	char *btf;
	off_t got = 0;
	ssize_t n;

	if (fd < 0 || fstat(fd, &stat))
		return 0;
	btf = malloc(stat.st_size);
	while (btf && got < stat.st_size &&
	       (n = read(fd, btf + got, stat.st_size - got)) > 0)
		got += n;
	close(fd);
	if (!btf || got != stat.st_size)
		ksft_exit_fail_msg("the kernel's BTF can't be read\n");
	header = (void *)btf;
	types = btf + header->hdr_len + header->type_off;
	end = types + header->type_len;
	strings = btf + header->hdr_len + header->str_off;
	for (id = 1; types < end && !found; id++) {
		const struct btf_type *t = (void *)types;

		if (BTF_INFO_KIND(t->info) == BTF_KIND_FUNC &&
		    !strcmp(strings + t->name_off, name))
			found = id;
		types += sizeof(*t) + connp_btf_more(t);
	}
	free(btf);
	return found;
}

/* Where struct sock_common has the state. */
#define CONNP_BPF_STATE	18

/*
 * A link to BPF's iterator over TCP sockets, with a program that writes a byte
 * for each; if it @kills, for each that it has killed, which are connections that
 * have not been closed. -1 if this kernel can't.
 */
static inline int connp_bpf_iterator(bool kills)
{
	const struct bpf_insn destroy = {
		.code = BPF_JMP | BPF_CALL, .src_reg = BPF_PSEUDO_KFUNC_CALL,
		.imm = kills ? connp_btf_func("bpf_sock_destroy") : 0,
	};
	const struct bpf_insn spare = {
		.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0,
	};
	const struct bpf_insn program[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 7,
		  .src_reg = 1 },
		/* r6 = ctx->sk_common; after the last one that is NULL */
		{ .code = BPF_LDX | BPF_DW | BPF_MEM, .dst_reg = 6,
		  .src_reg = 1, .off = 8 },
		{ .code = BPF_JMP | BPF_JEQ | BPF_K, .dst_reg = 6, .off = 12 },
		/* Listeners are to stay, a TIME_WAIT is no socket. */
		{ .code = BPF_LDX | BPF_B | BPF_MEM, .dst_reg = 3,
		  .src_reg = 6, .off = CONNP_BPF_STATE },
		{ .code = BPF_JMP | BPF_JGT | BPF_K, .dst_reg = 3, .off = 10,
		  .imm = kills ? TCP_FIN_WAIT2 : 0xff },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 1,
		  .src_reg = 6 },
		/* r0 = bpf_sock_destroy(r1), or 0 */
		kills ? destroy : spare,
		{ .code = BPF_JMP | BPF_JNE | BPF_K, .dst_reg = 0, .off = 7 },
		/* r1 = ctx->meta->seq, r2 = "s", r3 = 1 */
		{ .code = BPF_LDX | BPF_DW | BPF_MEM, .dst_reg = 2,
		  .src_reg = 7 },
		{ .code = BPF_LDX | BPF_DW | BPF_MEM, .dst_reg = 1,
		  .src_reg = 2 },
		{ .code = BPF_ST | BPF_B | BPF_MEM, .dst_reg = 10, .off = -1,
		  .imm = 's' },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 2,
		  .src_reg = 10 },
		{ .code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = 2,
		  .imm = -1 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 3,
		  .imm = 1 },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_seq_write },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	unsigned int target = connp_btf_func("bpf_iter_tcp");
	static char log[65536];
	union bpf_attr attr;
	int prog, link;

	if (!target || (kills && !destroy.imm))
		return -1;
	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_TRACING;
	attr.expected_attach_type = BPF_TRACE_ITER;
	attr.attach_btf_id = target;
	attr.insns = (uintptr_t)program;
	attr.insn_cnt = ARRAY_SIZE(program);
	attr.license = (uintptr_t)"GPL";
	attr.log_buf = (uintptr_t)log;
	attr.log_size = sizeof(log);
	attr.log_level = 1;
	prog = connp_bpf(BPF_PROG_LOAD, &attr);
	/* Without a word: there are no such programs, for want of BPF_EVENTS. */
	if (prog < 0 && errno == EINVAL && !log[0])
		return -1;
	if (prog < 0)
		ksft_exit_fail_msg("BPF_PROG_LOAD: %s\n%s\n", strerror(errno),
				   log);
	memset(&attr, 0, sizeof(attr));
	attr.link_create.prog_fd = prog;
	attr.link_create.attach_type = BPF_TRACE_ITER;
	link = connp_bpf(BPF_LINK_CREATE, &attr);
	if (link < 0)
		ksft_exit_fail_perror("BPF_LINK_CREATE");
	close(prog);
	return link;
}

static inline unsigned int connp_read_bpf(int link)
{
	union bpf_attr attr;
	unsigned int n = 0;
	char buf[4096];
	ssize_t got;
	int fd;

	memset(&attr, 0, sizeof(attr));
	attr.iter_create.link_fd = link;
	fd = connp_bpf(BPF_ITER_CREATE, &attr);
	if (fd < 0)
		ksft_exit_fail_perror("BPF_ITER_CREATE");
	while ((got = read(fd, buf, sizeof(buf))) > 0)
		n += got;
	if (got < 0)
		ksft_exit_fail_perror("reading BPF's iterator");
	close(fd);
	return n;
}

#endif /* CONNP_READERS_H */
