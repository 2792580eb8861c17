// SPDX-License-Identifier: GPL-2.0
/*
 * System.map, see symbols.h.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "symbols.h"

static bool is_user(uint64_t vaddr)
{
	return !(vaddr >> 63);
}

static int add(struct symbols *symbols, uint64_t start, const char *name)
{
	struct symbol *list;

	/* doubled each time that it has grown to a power of two */
	if (!(symbols->nr & (symbols->nr - 1))) {
		list = realloc(symbols->list, (symbols->nr ? symbols->nr * 2 : 1) *
			       sizeof(*list));
		if (!list)
			return -1;
		symbols->list = list;
	}
	symbols->list[symbols->nr].start = start;
	symbols->list[symbols->nr].name = strdup(name);
	return symbols->list[symbols->nr++].name ? 0 : -1;
}

int symbols_read(struct symbols *symbols, const char *path)
{
	FILE *file = fopen(path, "re");
	char name[512], type;
	uint64_t address;
	int read;

	if (!file)
		return -1;
	*symbols = (struct symbols){ 0 };
	if (add(symbols, 0, "[user]") || add(symbols, 1ULL << 63, "[kernel]"))
		goto failed;
	while ((read = fscanf(file, "%" SCNx64 " %c %511s", &address, &type,
			      name)) == 3) {
		struct symbol *last = &symbols->list[symbols->nr - 1];

		if (!strchr("tTwW", type) || is_user(address))
			continue;
		if (address < last->start) {
			errno = EINVAL;
			goto failed;
		}
		/* of several names, that which others can use */
		if (address == last->start && type == 'T') {
			free(last->name);
			last->name = strdup(name);
			if (!last->name)
				goto failed;
		} else if (address > last->start && add(symbols, address, name)) {
			goto failed;
		}
	}
	if (read != EOF || symbols->nr <= SYMBOL_FIRST) {
		errno = EINVAL;
		goto failed;
	}
	fclose(file);
	return 0;

failed:
	read = errno;
	fclose(file);
	errno = read;
	return -1;
}

uint32_t symbols_find(const struct symbols *symbols, uint64_t vaddr)
{
	size_t low = SYMBOL_KERNEL, high = symbols->nr;

	if (is_user(vaddr))
		return SYMBOL_USER;
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (symbols->list[middle].start <= vaddr)
			low = middle;
		else
			high = middle;
	}
	return low;
}
