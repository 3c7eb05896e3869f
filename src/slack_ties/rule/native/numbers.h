/* Types, limits that kernel.py shares, and functions that read, round and store numbers. */
#pragma once
#include <fenv.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef _WIN32
#include <windows.h>
#define API __declspec(dllexport)
#define YIELD SwitchToThread()
#else
#include <pthread.h>
#include <sched.h>
#define API __attribute__((visibility("default")))
#define YIELD sched_yield()
#endif

/* If the loader can choose at run time, let it choose wider vectors; the bytes are the same. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define WIDEST __attribute__((target_clones("default", "avx2")))
#else
#define WIDEST
#endif

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static __forceinline
#endif

enum { MOST = 16 }; /* threads: more would only wait for memory */
enum { BLOCK = 256 }; /* entries per block: 1 KiB a buffer */
/* Tables of counts have a row per digit. A digit is 16 bits of a magnitude. */
enum { DIGIT = 16, ROWS = 1 << DIGIT, CHUNK = 256, LANES = 4, RANKS = 2 };
/* A thread has LANES tables for the upper digit, whose first bit is 0, and RANKS for the lower. */
enum { UPPER = LANES * ROWS / 2, LOWER = RANKS * ROWS, COUNTS = UPPER + LOWER };
enum { FLOAT16, BFLOAT16, FLOAT32 }; /* kernel.py has the same list */
/* The counts of a report: tally.py has the same numbers and explains them. */
enum { TOPS = 4, GRID = 8, MORE = TOPS + GRID, ALL = RANKS + MORE, TABLES = ALL + 1 };
enum { CLASSES = TOPS + 1, LEVELS = 4 + GRID, SUMS = 3, BINS = 256 };
enum { CONFLICT, TIES, CONFIG, RESCUED, FIRST_OF_GRID };
enum { STRIP = 64 }; /* sums side by side: so every compiler can vectorise them */
enum { STRIPS = BLOCK / STRIP, WAYS = 1 << LEVELS }; /* WAYS: the number of sets of levels */

static const uint32_t SIGN = 0x80000000, INFINITY_BITS = 0x7f800000;

typedef struct {
    const void *data;
    int32_t type;
} Tensor;

typedef struct {
    Tensor tensor;
    float weight;
    int64_t ranks[RANKS]; /* how many of its largest magnitudes are kept, and protected */
    int32_t bits[RANKS];  /* output: the bits of the smallest magnitude kept, and protected */
} Model;

typedef struct {
    int64_t ranks[MORE]; /* how many of its largest magnitudes are in each top and grid slack */
    int32_t bits[MORE];  /* output: the bits of the smallest such magnitude */
    int64_t reached[ALL]; /* output: entries at or above each threshold; -1: all except zeros */
    int32_t varied;      /* whether the grid varies this model's slack */
} Watched;

/* The counts and sums for a report, and the buffers to count in. */
typedef struct {
    Watched *models;
    int64_t *histogram; /* BINS for each model: its deltas, counted by exponent */
    uint32_t *lower;    /* TABLES * ROWS for each thread */
    float *deltas;      /* 3 * number * BLOCK for each thread */
    double *strips;     /* (sum_size - number * CLASSES * LEVELS) * STRIP for each thread */
    uint32_t *ways;     /* number * CLASSES * WAYS for each thread, all zero */
    double *way_energy; /* as many, all zero */
    uint32_t *used;     /* as many, with any content */
    int64_t *counts;    /* count_size for each thread */
    double *sums;       /* sum_size for each slice, to be added in the order of slices */
    int64_t count_size, sum_size;
} Tally;

typedef struct {
    Tensor base;
    void *out; /* of the base's type */
    int64_t size, slice; /* entries */
    Model *models;
    int64_t number; /* of models */
    float lambda;
    int32_t normalize;
    uint32_t *counts;      /* COUNTS for each thread */
    atomic_llong *started; /* for each of 2 * number + 1 passes: the entries that threads took */
    int32_t wanted;        /* number of threads, at most MOST */
    atomic_int threads;    /* number of running threads with the calling one; 0 until known */
    int32_t tops[MOST];    /* for each thread: the largest upper digit that it counted */
    atomic_int arrived;    /* calls of `meet` so far, of all threads */
    atomic_int wrong;      /* 1 if a delta or a result is infinite or not a number */
    Tally *tally;          /* NULL without a report */
} Merge;

INLINE uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

INLINE float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* All ones if the condition is 1, else 0. */
INLINE uint32_t mask(int condition) { return 0u - (uint32_t)condition; }

INLINE uint32_t choose(uint32_t where, uint32_t yes, uint32_t no) {
    return (yes & where) | (no & ~where);
}

INLINE float from_half(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, rest = (uint32_t)(half & 0x7fff) << 13;
    uint32_t normal = rest + (112u << 23); /* exponents are biased by 15 and by 127 */
    uint32_t tiny = bits_of(float_of(rest + (113u << 23)) - float_of(113u << 23));
    uint32_t special = rest + (224u << 23);
    uint32_t found = choose(mask(rest < 1u << 23), tiny, normal);
    return float_of(sign | choose(mask(rest >= 31u << 23), special, found));
}

/* Round to nearest, ties to even. */
INLINE uint16_t to_half(float x) {
    uint32_t sign = bits_of(x) >> 16 & 0x8000, rest = bits_of(x) & ~SIGN;
    uint32_t normal = (rest + 0xfff + (rest >> 13 & 1) - (112u << 23)) >> 13;
    uint32_t tiny = bits_of(float_of(rest) + 0.5f) - bits_of(0.5f);
    uint32_t found = choose(mask(rest < 113u << 23), tiny, normal);
    return (uint16_t)(sign | choose(mask(rest >= 143u << 23), 0x7c00, found));
}

INLINE uint16_t to_bfloat(float x) {
    uint32_t bits = bits_of(x);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

INLINE void load(Tensor from, int64_t start, int count, float *to) {
    if (from.type == FLOAT32) {
        memcpy(to, (const float *)from.data + start, (size_t)count * sizeof *to);
    } else {
        const uint16_t *data = (const uint16_t *)from.data + start;
        if (from.type == BFLOAT16)
            for (int i = 0; i < count; i++) to[i] = float_of((uint32_t)data[i] << 16);
        else
            for (int i = 0; i < count; i++) to[i] = from_half(data[i]);
    }
}

/* Return whether an entry is infinite or not a number, before or after rounding. */
INLINE int store(const float *from, int count, void *out, int32_t type, int64_t start) {
    uint32_t wrong = 0;
    for (int i = 0; i < count; i++) wrong |= mask((bits_of(from[i]) & ~SIGN) >= INFINITY_BITS);
    if (type == FLOAT32) {
        memcpy((float *)out + start, from, (size_t)count * sizeof *from);
    } else {
        uint16_t *data = (uint16_t *)out + start;
        if (type == BFLOAT16)
            for (int i = 0; i < count; i++) {
                data[i] = to_bfloat(from[i]);
                wrong |= mask((data[i] & 0x7f80) == 0x7f80);
            }
        else
            for (int i = 0; i < count; i++) {
                data[i] = to_half(from[i]);
                wrong |= mask((data[i] & 0x7c00) == 0x7c00);
            }
    }
    return wrong != 0;
}

INLINE int32_t block_at(int64_t at, int64_t end) {
    return end - at < BLOCK ? (int32_t)(end - at) : BLOCK;
}
