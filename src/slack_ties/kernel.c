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
/* What a report counts: tally.py says what each is, and has the same numbers. */
enum { TOPS = 4, GRID = 8, MORE = TOPS + GRID, ALL = RANKS + MORE, TABLES = ALL + 1 };
enum { CLASSES = TOPS + 1, LEVELS = 4 + GRID, SUMS = 3, BINS = 256 };
enum { CONFLICT, TIES, CONFIG, RESCUED, FIRST_OF_GRID };
enum { STRIP = 64 }; /* sums side by side, so that every compiler can vectorise them */
enum { STRIPS = BLOCK / STRIP, WAYS = 1 << LEVELS }; /* WAYS: sets of levels */

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
    int64_t ranks[MORE]; /* how many of its largest magnitudes are in a top, and in the grid's */
    int32_t bits[MORE];  /* found here: of the smallest such magnitude */
    int64_t reached[ALL]; /* found here: entries as large as each threshold; -1: all but zeros */
    int32_t varied;      /* whether the grid is of this model's slack */
} Watched;

/* What a report wants to know, found while merging. */
typedef struct {
    Watched *models;
    int64_t *histogram; /* BINS for each model: its deltas by their exponent */
    uint32_t *lower;    /* TABLES * ROWS for each thread */
    float *deltas;      /* 3 * number * BLOCK for each thread */
    double *strips;     /* (sum_size - number * CLASSES * LEVELS) * STRIP for each thread */
    uint32_t *ways;     /* number * CLASSES * WAYS for each thread, all zero */
    double *way_energy; /* likewise */
    uint32_t *used;     /* likewise, without need of zeros */
    int64_t *counts;    /* count_size for each thread */
    double *sums;       /* sum_size for each slice, to be added up in their order */
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
    atomic_llong *started; /* for each pass, of 2 * number + 1: the entries that are taken */
    int32_t wanted;        /* threads, at most MOST */
    atomic_int threads;    /* those that could be started, with the calling one; 0 until known */
    int32_t tops[MOST];    /* the largest upper digit that a thread has counted */
    atomic_int arrived;    /* at all meetings so far */
    atomic_int wrong;      /* a delta or a result is infinite or not a number */
    Tally *tally;          /* NULL if nobody asks */
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

/* The same for any number of upper digits, all different, with a table for each after the first, in
 * which all else ends: many hits come without order, and a branch for them would cost more. */
static WIDEST void count_lower_of(Merge *merge, const Model *model, int64_t pass,
                                  const uint32_t *upper, int number, uint32_t *tables) {
    float origin[BLOCK], other[BLOCK];
    uint32_t bits[BLOCK], table[BLOCK];
    uint8_t place[ROWS / 2] = {0}; /* of an upper digit: the number of its table */
    for (int k = 0; k < number; k++) place[upper[k]] = (uint8_t)(k + 1);
    memset(tables, 0, (size_t)(number + 1) * ROWS * sizeof *tables);
    for (int64_t at, end; take(merge, pass, &at, &end);)
        for (; at < end; at += BLOCK) {
            int count = block_at(at, end);
            load(merge->base, at, count, origin);
            load(model->tensor, at, count, other);
            for (int i = 0; i < count; i++) bits[i] = bits_of(other[i] - origin[i]) & ~SIGN;
            for (int i = 0; i < count; i++) table[i] = place[bits[i] >> DIGIT];
            for (int i = 0; i < count; i++) {
                uint32_t hit = mask(table[i] != 0) & mask(bits[i] != 0);
                table[i] = choose(hit, table[i] << DIGIT | (bits[i] & (ROWS - 1)), (uint32_t)i);
            }
            for (int i = 0; i < count; i++) tables[table[i]]++;
        }
}

/* The counts of a row, over `lanes` tables of each of `threads` threads, whose tables are `apart`. */
INLINE uint64_t count_of(const uint32_t *tables, int64_t apart, int threads, int lanes, int64_t rows,
                         int64_t first, int64_t number) {
    uint64_t count = 0;
    for (int thread = 0; thread < threads; thread++)
        for (int lane = 0; lane < lanes; lane++)
            for (int64_t row = first; row < first + number; row++)
                count += tables[thread * apart + lane * rows + row];
    return count;
}

/* Return the row in which the rank-th largest is, and in *rank its rank within the row. All rows
 * above `top` are empty. */
static WIDEST uint32_t find(const uint32_t *tables, int64_t apart, int threads, int lanes,
                            int64_t rows, int64_t top, int64_t *rank) {
    int64_t row = (top / CHUNK + 1) * CHUNK;
    for (int64_t step = CHUNK; step > 0; step = step == CHUNK ? 1 : 0)
        for (; row > 0; row -= step) { /* from the top, a chunk at a time, then a row */
            int64_t count = (int64_t)count_of(tables, apart, threads, lanes, rows, row - step, step);
            if (count >= *rank) break;
            *rank -= count;
        }
    return row > 0 ? (uint32_t)(row - 1) : 0;
}

INLINE double chosen(int where, double x) { return where ? x : 0.0; }

/* Add the entries of a block that reach a magnitude to sums side by side. */
INLINE void add_reaching(double *strip, const double *x, const int32_t *magnitude, int32_t bits) {
    for (int i = 0; i < STRIP; i++)
        strip[i] += (chosen(magnitude[i] >= bits, x[i]) +
                     chosen(magnitude[i + STRIP] >= bits, x[i + STRIP])) +
                    (chosen(magnitude[i + 2 * STRIP] >= bits, x[i + 2 * STRIP]) +
                     chosen(magnitude[i + 3 * STRIP] >= bits, x[i + 3 * STRIP]));
}

/* Add the products of two blocks likewise. */
INLINE void add_products(double *strip, const float *one, const float *other) {
    for (int i = 0; i < STRIP; i++) {
        double sum = 0;
        for (int k = 0; k < STRIPS; k++)
            sum += (double)one[i + k * STRIP] * (double)other[i + k * STRIP];
        strip[i] += sum;
    }
}

INLINE int64_t reaching(const int32_t *magnitude, int32_t bits) {
    int32_t found = 0;
    for (int i = 0; i < BLOCK; i++) found += magnitude[i] >= bits;
    return found;
}

/* The levels at which negative votes win, where kept entries disagree. `guards` has for each model
 * the levels at which its entry is protected. */
INLINE uint32_t negative_at(int64_t number, const uint32_t *guards, const float *votes,
                            float ballots) {
    uint32_t by_all = mask(ballots < 0);
    uint32_t steps = 1u << FIRST_OF_GRID, any = 0, negative = 0, last = by_all;
    for (int64_t t = 0; t < number; t++) {
        uint32_t guard = guards[t * BLOCK];
        steps |= guard ^ guard << 1;
        any |= guard;
    }
    for (int level = TIES; level < LEVELS; level++) {
        if (level != RESCUED && (steps >> level & 1)) {
            float sum = 0;
            for (int64_t t = 0; t < number; t++)
                sum += float_of(bits_of(votes[t * BLOCK]) & mask(guards[t * BLOCK] >> level & 1));
            last = any >> level & 1 ? mask(sum < 0) : by_all;
        }
        negative |= last & 1u << level;
    }
    return negative;
}

/* What a thread counts in. */
typedef struct {
    float *deltas, *votes;      /* of each model, a block */
    uint32_t *guards;           /* likewise */
    double *strips;             /* of each sum */
    uint32_t *ways, *used;      /* for each model, class and set of levels */
    double *way_energy;
    int64_t number_used, *counts;
} Desk;

static Desk desk_of(const Merge *merge, int thread) {
    const Tally *tally = merge->tally;
    int64_t number = merge->number, lost = number * CLASSES * LEVELS;
    int64_t ways = thread * number * CLASSES * WAYS;
    Desk desk = {.deltas = tally->deltas + thread * 3 * number * BLOCK,
                 .strips = tally->strips + thread * (tally->sum_size - lost) * STRIP,
                 .ways = tally->ways + ways,
                 .used = tally->used + ways,
                 .way_energy = tally->way_energy + ways,
                 .counts = tally->counts + thread * tally->count_size};
    desk.votes = desk.deltas + number * BLOCK;
    desk.guards = (uint32_t *)desk.votes + number * BLOCK;
    memset(desk.strips, 0, (size_t)((tally->sum_size - lost) * STRIP) * sizeof *desk.strips);
    return desk;
}

/* Add what was counted in a slice to what is returned, and begin anew. */
static void clear_desk(const Merge *merge, Desk *desk, int64_t slice) {
    int64_t number = merge->number, of_lost = number * SUMS, lost_size = number * CLASSES * LEVELS;
    double *sums = merge->tally->sums + slice * merge->tally->sum_size;
    for (int64_t k = 0; k < merge->tally->sum_size - lost_size; k++) {
        double *strip = desk->strips + k * STRIP;
        for (int half = STRIP / 2; half > 0; half /= 2)
            for (int i = 0; i < half; i++) strip[i] += strip[i + half];
        sums[k < of_lost ? k : k + lost_size] = strip[0];
        memset(strip, 0, STRIP * sizeof *strip);
    }
    for (int64_t k = 0; k < desk->number_used; k++) {
        uint32_t way = desk->used[k], levels = way % WAYS;
        int64_t row = (int64_t)(way / WAYS) * LEVELS;
        for (int level = 0; level < LEVELS; level++)
            if (levels >> level & 1) {
                desk->counts[number + row + level] += desk->ways[way];
                sums[of_lost + row + level] += desk->way_energy[way];
            }
        desk->ways[way] = 0;
        desk->way_energy[way] = 0;
    }
    desk->number_used = 0;
}

/* Count what a report wants to know of a block: `ballots` are those of all kept entries, `change` is
 * the merged delta. */
static WIDEST void tally_block(const Merge *merge, Desk *desk, int64_t at, int count,
                               const float *origin, const float *ballots, const float *change) {
    const Tally *tally = merge->tally;
    int64_t number = merge->number, *counts = desk->counts;
    int64_t *pairs = counts + number * (1 + CLASSES * LEVELS);
    int64_t *positions = pairs + number * number * 2;
    double *dots = desk->strips + number * SUMS * STRIP, *merged = dots + number * number * STRIP;
    float padded[BLOCK];
    double square[BLOCK];
    int32_t magnitude[BLOCK];
    uint32_t positive[BLOCK] = {0}, negative[BLOCK] = {0};
    if (count < BLOCK) memset(padded, 0, sizeof padded);
    memcpy(padded, change, (size_t)count * sizeof *change);
    add_products(merged, padded, padded);
    for (int64_t t = 0; t < number; t++) {
        const Model *model = &merge->models[t];
        float *delta = desk->deltas + t * BLOCK, *vote = desk->votes + t * BLOCK;
        int32_t trim = model->bits[0] < 1 ? 1 : model->bits[0];
        if (count < BLOCK) memset(delta, 0, BLOCK * sizeof *delta);
        load(model->tensor, at, count, delta);
        for (int i = 0; i < count; i++) delta[i] -= origin[i];
        for (int i = 0; i < BLOCK; i++) {
            magnitude[i] = (int32_t)(bits_of(delta[i]) & ~SIGN);
            square[i] = (double)delta[i] * (double)delta[i];
            uint32_t bits = bits_of(delta[i] * model->weight) & mask(magnitude[i] >= trim);
            vote[i] = float_of(bits);
            positive[i] |= mask((int32_t)bits > 0);
            negative[i] |= mask(bits > SIGN);
        }
        double *strips = desk->strips + t * SUMS * STRIP;
        counts[t] += reaching(magnitude, 1);
        add_reaching(strips, square, magnitude, 0);
        add_reaching(strips + STRIP, square, magnitude, trim);
        add_products(strips + 2 * STRIP, padded, delta);
        for (int64_t other = 0; other < t; other++) {
            const float *one = desk->deltas + other * BLOCK;
            int32_t before = merge->models[other].bits[0] < 1 ? 1 : merge->models[other].bits[0];
            int32_t both = 0, same = 0;
            for (int i = 0; i < BLOCK; i++) {
                uint32_t kept = mask((int32_t)(bits_of(one[i]) & ~SIGN) >= before) &
                                mask(magnitude[i] >= trim);
                both -= (int32_t)kept;
                same -= (int32_t)(kept & mask((int32_t)(bits_of(one[i]) ^ bits_of(delta[i])) >= 0));
            }
            pairs[(other * number + t) * 2] += both;
            pairs[(other * number + t) * 2 + 1] += same;
            add_products(dots + (other * number + t) * STRIP, one, delta);
        }
    }
    int at_odds[BLOCK], conflicts = 0;
    for (int i = 0; i < count; i++) {
        at_odds[conflicts] = i;
        conflicts += (int)(positive[i] & negative[i] & 1);
    }
    positions[0] += conflicts;
    /* The rest is of conflicts alone, moved together; each model's in the place of all it had. */
    uint32_t *guards = desk->guards;
    uint32_t against[BLOCK];
    float all[BLOCK];
    for (int n = 0; n < conflicts; n++) all[n] = ballots[at_odds[n]];
    for (int64_t t = 0; t < number; t++) {
        const int32_t *bits = tally->models[t].bits;
        float *delta = desk->deltas + t * BLOCK, *vote = desk->votes + t * BLOCK;
        uint32_t *guard = guards + t * BLOCK;
        int32_t config = merge->models[t].bits[1], varied = tally->models[t].varied;
        for (int n = 0; n < conflicts; n++) delta[n] = delta[at_odds[n]];
        for (int n = 0; n < conflicts; n++) vote[n] = vote[at_odds[n]];
        for (int n = 0; n < conflicts; n++) {
            int32_t size = (int32_t)(bits_of(delta[n]) & ~SIGN);
            uint32_t now = mask(size >= config), grid = now;
            if (varied) { /* the grid goes up: once protected, always protected */
                grid = 0;
                for (int k = 0; k < GRID; k++) grid |= mask(size >= bits[TOPS + k]) & 1u << k;
            }
            guard[n] = (now & 1) << CONFIG | (grid & ((1u << GRID) - 1)) << FIRST_OF_GRID;
        }
    }
    if (number == 2) { /* one that is protected alone decides; both, or neither, are as all */
        const float *one = desk->votes, *other = desk->votes + BLOCK;
        for (int n = 0; n < conflicts; n++) {
            uint32_t first = guards[n], second = guards[BLOCK + n];
            against[n] = (mask(all[n] < 0) & ~(first ^ second)) |
                         (first & ~second & mask(one[n] < 0)) |
                         (second & ~first & mask(other[n] < 0));
        }
    } else
        for (int n = 0; n < conflicts; n++)
            against[n] = negative_at(number, guards + n, desk->votes + n, all[n]);
    for (int n = 0; n < conflicts; n++)
        positions[1] += (against[n] >> TIES ^ against[n] >> CONFIG) & 1;
    for (int64_t t = 0; t < number; t++) {
        const int32_t *bits = tally->models[t].bits;
        const float *delta = desk->deltas + t * BLOCK, *vote = desk->votes + t * BLOCK;
        uint32_t way[BLOCK];
        for (int n = 0; n < conflicts; n++) {
            int32_t size = (int32_t)(bits_of(delta[n]) & ~SIGN);
            uint32_t class = (uint32_t)t * CLASSES;
            for (int k = 0; k < TOPS; k++) class += mask(size < bits[k]) & 1;
            uint32_t levels = (against[n] ^ mask(vote[n] < 0)) & ((1u << LEVELS) - 1);
            levels &= ~(1u << RESCUED | 1u << CONFLICT);
            levels |= (levels >> TIES & ~(levels >> CONFIG) & 1) << RESCUED | 1u << CONFLICT;
            way[n] = class << LEVELS | levels;
            square[n] = (double)delta[n] * (double)delta[n];
        }
        for (int n = 0; n < conflicts; n++) {
            if (vote[n] == 0) continue;
            if (desk->ways[way[n]]++ == 0) desk->used[desk->number_used++] = way[n];
            desk->way_energy[way[n]] += square[n];
        }
    }
}

/* Merge slices. */
static WIDEST int merge_slices(Merge *merge, int64_t pass, int thread) {
    float origin[BLOCK], other[BLOCK], ballots[BLOCK], first_ballots[BLOCK];
    float total[BLOCK], divisor[BLOCK];
    uint32_t any_protected[BLOCK], flip[BLOCK];
    uint32_t wrong = 0;
    Desk desk = {0};
    if (merge->tally) desk = desk_of(merge, thread);
    for (int64_t at, end; take(merge, pass, &at, &end);) {
        int64_t slice = at / merge->slice;
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
                divisor[i] = change;
                /* Where nothing is added the base stays bit for bit: -0.0 + 0.0 would be 0.0. */
                uint32_t same = mask((bits_of(change) & ~SIGN) == 0);
                total[i] = float_of(choose(same, bits_of(origin[i]), bits_of(origin[i] + change)));
            }
            wrong |= (uint32_t)store(total, count, merge->out, merge->base.type, at);
            if (merge->tally) tally_block(merge, &desk, at, count, origin, ballots, divisor);
        }
        if (merge->tally) clear_desk(merge, &desk, slice);
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

/* Find all thresholds of a model of which a report is made, and count its exponents. */
static void find_watched(Merge *merge, int64_t t, int thread, int threads, int *meetings) {
    Model *model = &merge->models[t];
    Watched *watched = &merge->tally->models[t];
    int64_t rank[ALL], reached[ALL], apart = (int64_t)TABLES * ROWS;
    uint32_t upper[ALL], different[ALL], *lower_tables = merge->tally->lower;
    int32_t bits[ALL];
    int number = 0, place[ALL];
    merge->tops[thread] = count_upper(merge, model, 2 * t, merge->counts + thread * (int64_t)COUNTS);
    meet(merge, threads, meetings);
    int32_t top = 0;
    for (int i = 0; i < threads; i++) top = merge->tops[i] > top ? merge->tops[i] : top;
    for (int i = 0; i < ALL; i++) {
        rank[i] = i < RANKS ? model->ranks[i] : watched->ranks[i - RANKS];
        bits[i] = rank[i] > 0 ? 0 : INT32_MAX; /* all, or none */
        place[i] = -1;
        reached[i] = rank[i] > 0 ? -1 : 0;
        if (rank[i] <= 0 || rank[i] >= merge->size) continue;
        upper[i] = find(merge->counts, COUNTS, threads, LANES, ROWS / 2, top, &rank[i]);
        for (int k = 0; k < number && place[i] < 0; k++)
            if (different[k] == upper[i]) place[i] = k;
        if (place[i] < 0) different[place[i] = number++] = upper[i];
    }
    if (thread == 0)
        for (int64_t bin = 0; bin < BINS; bin++)
            merge->tally->histogram[t * BINS + bin] = (int64_t)count_of(
                merge->counts, COUNTS, threads, LANES, ROWS / 2, bin * (ROWS / 2 / BINS), ROWS / 2 / BINS);
    count_lower_of(merge, model, 2 * t + 1, different, number, lower_tables + thread * apart);
    meet(merge, threads, meetings);
    for (int i = 0; i < ALL; i++)
        if (place[i] >= 0) {
            const uint32_t *tables = lower_tables + (place[i] + 1) * (int64_t)ROWS;
            uint32_t lower = find(tables, apart, threads, 1, ROWS, ROWS - 1, &rank[i]);
            bits[i] = (int32_t)(upper[i] << DIGIT | lower);
            int64_t wanted = i < RANKS ? model->ranks[i] : watched->ranks[i - RANKS];
            int64_t ties = (int64_t)count_of(tables, apart, threads, 1, ROWS, lower, 1);
            reached[i] = bits[i] > 0 ? wanted - rank[i] + ties : -1;
        }
    for (int i = 1; i < ALL; i++) bits[i] = bits[i] < 1 ? 1 : bits[i]; /* zeros never count */
    if (thread == 0) {
        memcpy(model->bits, bits, sizeof model->bits);
        memcpy(watched->bits, bits + RANKS, sizeof watched->bits);
        memcpy(watched->reached, reached, sizeof reached);
    }
}

/* Do a thread's part of a merge. */
static void do_part(Merge *merge, int thread) {
    int threads = 0;
    while ((threads = atomic_load(&merge->threads)) == 0) YIELD;
    int meetings = 0;
    uint32_t *upper_tables = merge->counts, *lower_tables = merge->counts + UPPER;
    for (int64_t t = 0; t < merge->number; t++) {
        if (merge->tally) {
            find_watched(merge, t, thread, threads, &meetings);
            continue;
        }
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
                    upper[i] = find(upper_tables, COUNTS, threads, LANES, ROWS / 2, top, &rank[i]);
            count_lower(merge, model, 2 * t + 1, upper, lower_tables + thread * (int64_t)COUNTS);
            meet(merge, threads, &meetings);
            for (int i = 0; i < RANKS; i++)
                if (rank[i] > 0) {
                    uint32_t lower =
                        find(lower_tables + i * ROWS, COUNTS, threads, 1, ROWS, ROWS - 1, &rank[i]);
                    bits[i] = (int32_t)(upper[i] << DIGIT | lower);
                }
        }
        if (bits[1] < 1) bits[1] = 1; /* zeros are not protected */
        if (thread == 0) memcpy(model->bits, bits, sizeof bits);
    }
    meet(merge, threads, &meetings);
    if (merge_slices(merge, 2 * merge->number, thread)) atomic_store(&merge->wrong, 1);
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
