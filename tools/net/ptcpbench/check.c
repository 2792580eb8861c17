// SPDX-License-Identifier: GPL-2.0
/*
 * What arrived against what was sent. A file is a pure function of its seed, so
 * this end makes its own copy of each.
 */
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "fail.h"

static struct pattern *patterns;
static pthread_mutex_t patterns_lock = PTHREAD_MUTEX_INITIALIZER;

const struct pattern *pattern_get(uint64_t seed, uint64_t size,
				  unsigned int thread)
{
	struct pattern *pattern;

	pthread_mutex_lock(&patterns_lock);
	for (pattern = patterns; pattern; pattern = pattern->next)
		if (pattern->seed == seed && pattern->size == size)
			goto out;
	pattern = malloc(sizeof(*pattern) + size);
	if (!pattern)
		goto out;
	pattern->seed = seed;
	pattern->size = size;
	pattern->thread = thread;
	pattern->next = patterns;
	pattern_fill(pattern->data, size, seed);
	patterns = pattern;
out:
	pthread_mutex_unlock(&patterns_lock);
	return pattern;
}

/* Where wrong bytes really belong, which tells loss from repetition. */
static void describe_origin(const unsigned char *data, size_t len, char *text,
			    size_t text_size)
{
	struct pattern *pattern;
	unsigned char *found;

	snprintf(text, text_size, "found nowhere in the files");
	if (len < 16) {
		snprintf(text, text_size, "too few to tell where from");
		return;
	}
	pthread_mutex_lock(&patterns_lock);
	for (pattern = patterns; pattern; pattern = pattern->next) {
		found = memmem(pattern->data, pattern->size, data, 16);
		if (!found)
			continue;
		snprintf(text, text_size, "they are at %zu in thread %u's file",
			 (size_t)(found - pattern->data), pattern->thread);
		break;
	}
	pthread_mutex_unlock(&patterns_lock);
}

static void mismatch(struct conn *conn, const unsigned char *data, size_t len,
		     const char *what, uint64_t before)
{
	const unsigned char *expect = conn->expect->data + conn->pos;
	char origin[80];
	size_t at = 0;

	while (data[at] == expect[at])
		at++;
	describe_origin(data + at, len - at, origin, sizeof(origin));
	conn_fail(conn, "failed the check at byte %llu of its %s (at %llu in the file): expected %02x, got %02x; %zu wrong bytes or fewer begin there, %s",
		  (unsigned long long)(before + at), what,
		  (unsigned long long)(conn->pos + at), expect[at], data[at],
		  len - at, origin);
}

bool check_bytes(struct conn *conn, const unsigned char *data, size_t len,
		 const char *what, uint64_t before)
{
	const struct pattern *file = conn->expect;
	size_t piece;

	while (len) {
		piece = file->size - conn->pos;
		if (piece > len)
			piece = len;
		if (memcmp(data, file->data + conn->pos, piece)) {
			mismatch(conn, data, piece, what, before);
			return false;
		}
		before += piece;
		conn->pos += piece;
		if (conn->pos == file->size)
			conn->pos = 0;
		data += piece;
		len -= piece;
	}
	return true;
}
