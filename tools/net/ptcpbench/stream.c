// SPDX-License-Identifier: GPL-2.0
/* The contents of the streams; stream.h says what they are for. */
#include <endian.h>
#include <string.h>

#include "stream.h"

/* The output function of splitmix64: neighbouring numbers share no bytes. */
static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

uint64_t pattern_seed(uint64_t run_seed, unsigned int thread)
{
	return mix(run_seed + thread);
}

/* Word i of a file is mix(seed + i), little endian. */
void pattern_fill(unsigned char *data, uint64_t size, uint64_t seed)
{
	for (uint64_t i = 0; i < size / sizeof(uint64_t); i++) {
		uint64_t word = htole64(mix(seed + i));

		memcpy(data + i * sizeof(word), &word, sizeof(word));
	}
}

/*
 * An odd number of pages between neighbours: as many connections as the file
 * has pages (256 by default) all start at different places.
 */
uint64_t pattern_start(unsigned int id, uint64_t file_size)
{
	return (uint64_t)id * 37 * STREAM_PAGE % file_size;
}
