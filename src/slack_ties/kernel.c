/* The rule of `slack_ties` for CPUs, in float32: what blockwise.py does, to the same bytes.
 *
 * Everything is computed a block at a time, in buffers that stay in the first cache: each model
 * is read twice to find its thresholds and once to merge, and nothing as large as a tensor is made.
 * Conditions are bit masks, so that every compiler can vectorise every loop; what is added,
 * multiplied and divided is rounded by itself (the build forbids fused multiply-add), in the
 * order of the models. So neither the width of a vector nor who computes what shows in the result.
 *
 * slack_ties_run starts threads, which take slices of the tensor until none is left, and joins them.
 * It keeps no state, and what it works in is lent to it (kernel.py). Where a thread cannot be started
 * the others do its work.
 */
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

/* Where the loader can choose, choose wider vectors; the bytes are the same. */
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
enum { BLOCK = 256 }; /* entries in work at a time: 1 KiB a buffer */
/* Counts are in tables with a row per digit, 16 bits of a magnitude. */
enum { DIGIT = 16, ROWS = 1 << DIGIT, CHUNK = 256, LANES = 4, RANKS = 2 };
/* A thread has LANES tables for the upper digit, whose first bit is 0, and RANKS for the lower. */
enum { UPPER = LANES * ROWS / 2, LOWER = RANKS * ROWS, COUNTS = UPPER + LOWER };
enum { FLOAT16, BFLOAT16, FLOAT32 }; /* kernel.py has the same list */

static const uint32_t SIGN = 0x80000000, INFINITY_BITS = 0x7f800000;

typedef struct {
    const void *data;
    int32_t type;
} Tensor;

typedef struct {
    Tensor tensor;
    float weight;
    int64_t ranks[RANKS]; /* how many of its largest magnitudes are kept, and protected */
    int32_t bits[RANKS];  /* found here: of the smallest magnitude kept, and protected */
} Model;

typedef struct {
    Tensor base;
    void *out; /* of the base's type */
    int64_t size, slice; /* entries */
    Model *models;
    int64_t number; /* of models */
    float lambda;
    int32_t normalize;
    uint32_t *counts;      /* COUNTS for each thread */
    atomic_llong *started; /* for each pass, of 2 * number + 1: the entries that are taken */
    int32_t wanted;        /* threads, at most MOST */
    atomic_int threads;    /* those that could be started, with the calling one; 0 until known */
    int32_t tops[MOST];    /* the largest upper digit that a thread has counted */
    atomic_int arrived;    /* at all meetings so far */
    atomic_int wrong;      /* a delta or a result is infinite or not a number */
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

/* Returns whether an entry is infinite or not a number, before or after it is rounded. */
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

/* Take the next slice of a pass; returns whether there is one. */
static int take(Merge *merge, int64_t pass, int64_t *start, int64_t *end) {
    *start = atomic_fetch_add(&merge->started[pass], merge->slice);
    *end = *start + merge->slice < merge->size ? *start + merge->slice : merge->size;
    return *start < merge->size;
}

/* Count the upper digit of the magnitudes of model - base, in LANES tables to be added up: in one,
 * an entry that is equal to the entry before it would wait for that to be counted. Returns the
 * largest. */
static WIDEST int32_t count_upper(Merge *merge, const Model *model, int64_t pass,
                                  uint32_t *tables) {
    float origin[BLOCK], other[BLOCK];
    int32_t digit[BLOCK], top = 0;
    memset(tables, 0, UPPER * sizeof *tables);
    for (int64_t at, end; take(merge, pass, &at, &end);)
        for (; at < end; at += BLOCK) {
            int count = block_at(at, end), i = 0;
            load(merge->base, at, count, origin);
            load(model->tensor, at, count, other);
            for (i = 0; i < count; i++)
                digit[i] = (int32_t)((bits_of(other[i] - origin[i]) & ~SIGN) >> DIGIT);
            for (i = 0; i < count; i++) top = digit[i] > top ? digit[i] : top;
            for (i = 0; i + LANES <= count; i += LANES)
                for (int lane = 0; lane < LANES; lane++)
                    tables[lane * (ROWS / 2) + digit[i + lane]]++;
            for (; i < count; i++) tables[digit[i]]++;
        }
    return top;
}

/* Count the lower digit of those whose upper one is upper[0], in the first table, and of those
 * whose upper one is upper[1], in the second. Zeros, often most of a tensor, are not counted: find
 * ends in row 0 without them. */
static WIDEST void count_lower(Merge *merge, const Model *model, int64_t pass,
                               const uint32_t *upper, uint32_t *tables) {
    float origin[BLOCK], other[BLOCK];
    uint32_t bits[BLOCK];
    uint8_t hit[BLOCK] = {0};
    uint64_t group; /* of eight entries: in most there is no hit */
    uint32_t one = upper[0], two = upper[1];
    memset(tables, 0, LOWER * sizeof *tables);
    for (int64_t at, end; take(merge, pass, &at, &end);)
        for (; at < end; at += BLOCK) {
            int count = block_at(at, end);
            load(merge->base, at, count, origin);
            load(model->tensor, at, count, other);
            for (int i = 0; i < count; i++) bits[i] = bits_of(other[i] - origin[i]) & ~SIGN;
            for (int i = 0; i < count; i++)
                hit[i] = (uint8_t)(((bits[i] >> DIGIT == one) | (bits[i] >> DIGIT == two)) &
                                   (bits[i] != 0));
            for (int first = 0; first < count; first += (int)sizeof group) {
                memcpy(&group, hit + first, sizeof group);
                if (!group) continue;
                for (int i = first; i < first + (int)sizeof group && i < count; i++) {
                    if (!hit[i]) continue;
                    if (bits[i] >> DIGIT == one) tables[bits[i] & (ROWS - 1)]++;
                    if (bits[i] >> DIGIT == two) tables[ROWS + (bits[i] & (ROWS - 1))]++;
                }
            }
        }
}

/* The counts of a row, over `lanes` tables of each of `threads` threads. */
INLINE uint64_t count_of(const uint32_t *tables, int threads, int lanes, int64_t rows, int64_t first,
                         int64_t number) {
    uint64_t count = 0;
    for (int thread = 0; thread < threads; thread++)
        for (int lane = 0; lane < lanes; lane++)
            for (int64_t row = first; row < first + number; row++)
                count += tables[thread * (int64_t)COUNTS + lane * rows + row];
    return count;
}

/* Return the row in which the rank-th largest is, and in *rank its rank within the row. All rows
 * above `top` are empty. */
static WIDEST uint32_t find(const uint32_t *tables, int threads, int lanes, int64_t rows, int64_t top,
                            int64_t *rank) {
    int64_t row = (top / CHUNK + 1) * CHUNK;
    for (int64_t step = CHUNK; step > 0; step = step == CHUNK ? 1 : 0)
        for (; row > 0; row -= step) { /* from the top, a chunk at a time, then a row */
            int64_t count = (int64_t)count_of(tables, threads, lanes, rows, row - step, step);
            if (count >= *rank) break;
            *rank -= count;
        }
    return row > 0 ? (uint32_t)(row - 1) : 0;
}

/* Merge slices. */
static WIDEST int merge_slices(Merge *merge, int64_t pass) {
    float origin[BLOCK], other[BLOCK], ballots[BLOCK], first_ballots[BLOCK];
    float total[BLOCK], divisor[BLOCK];
    uint32_t any_protected[BLOCK], flip[BLOCK];
    uint32_t wrong = 0;
    for (int64_t at, end; take(merge, pass, &at, &end);)
        for (; at < end; at += BLOCK) {
            int count = block_at(at, end);
            load(merge->base, at, count, origin);
            memset(ballots, 0, sizeof ballots);
            memset(first_ballots, 0, sizeof first_ballots);
            memset(any_protected, 0, sizeof any_protected);
            memset(total, 0, sizeof total);
            memset(divisor, 0, sizeof divisor);
            for (int64_t t = 0; t < merge->number; t++) {
                Model model = merge->models[t];
                load(model.tensor, at, count, other);
                for (int i = 0; i < count; i++) {
                    float change = other[i] - origin[i];
                    int32_t magnitude = (int32_t)(bits_of(change) & ~SIGN);
                    uint32_t vote = bits_of(change * model.weight) & mask(magnitude >= model.bits[0]);
                    uint32_t protected = mask(magnitude >= model.bits[1]);
                    wrong |= mask(magnitude >= (int32_t)INFINITY_BITS);
                    ballots[i] += float_of(vote);
                    first_ballots[i] += float_of(vote & protected);
                    any_protected[i] |= protected;
                }
            }
            for (int i = 0; i < count; i++) { /* the sign bit where negative votes win */
                uint32_t sum =
                    choose(any_protected[i], bits_of(first_ballots[i]), bits_of(ballots[i]));
                flip[i] = sum & SIGN & mask(sum != SIGN); /* -0.0 counts as positive */
            }
            for (int64_t t = 0; t < merge->number; t++) {
                Model model = merge->models[t];
                load(model.tensor, at, count, other);
                for (int i = 0; i < count; i++) {
                    float change = other[i] - origin[i];
                    int32_t magnitude = (int32_t)(bits_of(change) & ~SIGN);
                    uint32_t vote = bits_of(change * model.weight) & mask(magnitude >= model.bits[0]);
                    uint32_t agrees = mask((int32_t)(vote ^ flip[i]) > 0);
                    total[i] += float_of(vote & agrees);
                    divisor[i] += float_of(bits_of(model.weight) & agrees);
                }
            }
            for (int i = 0; i < count; i++) {
                uint32_t none = mask((bits_of(divisor[i]) & ~SIGN) == 0) | mask(!merge->normalize);
                float change = total[i] / float_of(choose(none, bits_of(1.0f), bits_of(divisor[i])));
                change *= merge->lambda;
                /* Where nothing is added the base stays bit for bit: -0.0 + 0.0 would be 0.0. */
                uint32_t same = mask((bits_of(change) & ~SIGN) == 0);
                total[i] = float_of(choose(same, bits_of(origin[i]), bits_of(origin[i] + change)));
            }
            wrong |= (uint32_t)store(total, count, merge->out, merge->base.type, at);
        }
    return wrong != 0;
}

/* Wait until every thread is here. */
static void meet(Merge *merge, int threads, int *meetings) {
    int all = ++*meetings * threads;
    atomic_fetch_add(&merge->arrived, 1);
    for (int turns = 0; atomic_load(&merge->arrived) < all;)
        if (turns < 1000)
            turns++;
        else
            YIELD;
}

/* Do a thread's part of a merge. */
static void do_part(Merge *merge, int thread) {
    int threads = 0;
    while ((threads = atomic_load(&merge->threads)) == 0) YIELD;
    int meetings = 0;
    uint32_t *upper_tables = merge->counts, *lower_tables = merge->counts + UPPER;
    for (int64_t t = 0; t < merge->number; t++) {
        Model *model = &merge->models[t];
        int64_t rank[RANKS];
        uint32_t upper[RANKS] = {~0u, ~0u}; /* none begins so */
        int32_t bits[RANKS];
        int wanted = 0;
        for (int i = 0; i < RANKS; i++) {
            rank[i] = model->ranks[i];
            wanted |= rank[i] > 0 && rank[i] < merge->size;
            bits[i] = rank[i] > 0 ? 0 : INT32_MAX; /* all, or none */
        }
        if (wanted) {
            merge->tops[thread] =
                count_upper(merge, model, 2 * t, upper_tables + thread * (int64_t)COUNTS);
            meet(merge, threads, &meetings);
            int32_t top = 0;
            for (int i = 0; i < threads; i++) top = merge->tops[i] > top ? merge->tops[i] : top;
            for (int i = 0; i < RANKS; i++)
                if (rank[i] > 0)
                    upper[i] = find(upper_tables, threads, LANES, ROWS / 2, top, &rank[i]);
            count_lower(merge, model, 2 * t + 1, upper, lower_tables + thread * (int64_t)COUNTS);
            meet(merge, threads, &meetings);
            for (int i = 0; i < RANKS; i++)
                if (rank[i] > 0) {
                    uint32_t lower =
                        find(lower_tables + i * ROWS, threads, 1, ROWS, ROWS - 1, &rank[i]);
                    bits[i] = (int32_t)(upper[i] << DIGIT | lower);
                }
        }
        if (bits[1] < 1) bits[1] = 1; /* zeros are not protected */
        if (thread == 0) memcpy(model->bits, bits, sizeof bits);
    }
    meet(merge, threads, &meetings);
    if (merge_slices(merge, 2 * merge->number)) atomic_store(&merge->wrong, 1);
}

typedef struct {
    Merge *merge;
    int thread;
} Part;

#ifdef _WIN32
static DWORD WINAPI begin(void *part) {
    do_part(((Part *)part)->merge, ((Part *)part)->thread);
    return 0;
}
#else
static void *begin(void *part) {
    do_part(((Part *)part)->merge, ((Part *)part)->thread);
    return NULL;
}
#endif

/* Find the thresholds of all models and merge them. */
API void slack_ties_run(Merge *merge) {
    Part parts[MOST];
    fenv_t before; /* of the caller, who may have turned denormals off; threads inherit it */
    int threads = 1;
    fegetenv(&before);
    fesetenv(FE_DFL_ENV);
#ifdef _WIN32
    HANDLE started[MOST];
#else
    pthread_t started[MOST];
#endif
    for (; threads < merge->wanted && threads < MOST; threads++) {
        parts[threads] = (Part){merge, threads};
#ifdef _WIN32
        started[threads] = CreateThread(NULL, 0, begin, &parts[threads], 0, NULL);
        if (!started[threads]) break;
#else
        if (pthread_create(&started[threads], NULL, begin, &parts[threads])) break;
#endif
    }
    atomic_store(&merge->threads, threads);
    do_part(merge, 0);
    for (int thread = 1; thread < threads; thread++) {
#ifdef _WIN32
        WaitForSingleObject(started[thread], INFINITE);
        CloseHandle(started[thread]);
#else
        pthread_join(started[thread], NULL);
#endif
    }
    fesetenv(&before);
}

/* The sha256 of the kernel.c that this was built from. */
#define STRING_OF(value) #value
#define STRING(value) STRING_OF(value)
API const char *slack_ties_source(void) { return STRING(SOURCE); }
