/* Count magnitudes by their digits, and find the k-th largest of them: the thresholds of a model. */
#pragma once
#include "numbers.h"

/* Take the next slice of a pass; returns whether there is one. */
static int take(Merge *merge, int64_t pass, int64_t *start, int64_t *end) {
    *start = atomic_fetch_add(&merge->started[pass], merge->slice);
    *end = *start + merge->slice < merge->size ? *start + merge->slice : merge->size;
    return *start < merge->size;
}

/* Count the upper digit of the magnitudes of model - base, in LANES tables that are added later:
 * with one table, an entry equal to the entry before it would wait until that one is counted.
 * Returns the largest digit. */
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

/* Count the lower digits of the magnitudes with the upper digit upper[0] in the first table, and of
 * those with upper[1] in the second. Zeros, often most of a tensor, are not counted: `find` ends in
 * row 0 without them. */
static WIDEST void count_lower(Merge *merge, const Model *model, int64_t pass,
                               const uint32_t *upper, uint32_t *tables) {
    float origin[BLOCK], other[BLOCK];
    uint32_t bits[BLOCK];
    uint8_t hit[BLOCK] = {0};
    uint64_t group; /* the hits of eight entries: most groups have none */
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

/* The same for any number of different upper digits. Each digit has a table; the first table takes
 * all other magnitudes: hits have no pattern, and a branch for them would cost more time. */
static WIDEST void count_lower_of(Merge *merge, const Model *model, int64_t pass,
                                  const uint32_t *upper, int number, uint32_t *tables) {
    float origin[BLOCK], other[BLOCK];
    uint32_t bits[BLOCK], table[BLOCK];
    uint8_t table_of[ROWS / 2] = {0}; /* upper digit -> the number of its table */
    for (int k = 0; k < number; k++) table_of[upper[k]] = (uint8_t)(k + 1);
    memset(tables, 0, (size_t)(number + 1) * ROWS * sizeof *tables);
    for (int64_t at, end; take(merge, pass, &at, &end);)
        for (; at < end; at += BLOCK) {
            int count = block_at(at, end);
            load(merge->base, at, count, origin);
            load(model->tensor, at, count, other);
            for (int i = 0; i < count; i++) bits[i] = bits_of(other[i] - origin[i]) & ~SIGN;
            for (int i = 0; i < count; i++) table[i] = table_of[bits[i] >> DIGIT];
            for (int i = 0; i < count; i++) {
                uint32_t hit = mask(table[i] != 0) & mask(bits[i] != 0);
                table[i] = choose(hit, table[i] << DIGIT | (bits[i] & (ROWS - 1)), (uint32_t)i);
            }
            for (int i = 0; i < count; i++) tables[table[i]]++;
        }
}

/* Return the sum of the counts of `number` rows, over `lanes` tables of each of `threads` threads.
 * `apart` is the distance from a thread's tables to those of the next. */
INLINE uint64_t count_of(const uint32_t *tables, int64_t apart, int threads, int lanes, int64_t rows,
                         int64_t first, int64_t number) {
    uint64_t count = 0;
    for (int thread = 0; thread < threads; thread++)
        for (int lane = 0; lane < lanes; lane++)
            for (int64_t row = first; row < first + number; row++)
                count += tables[thread * apart + lane * rows + row];
    return count;
}

/* Return the row that contains the rank-th largest magnitude, and in *rank its rank within the row.
 * All rows above `top` are empty. */
static WIDEST uint32_t find(const uint32_t *tables, int64_t apart, int threads, int lanes,
                            int64_t rows, int64_t top, int64_t *rank) {
    int64_t row = (top / CHUNK + 1) * CHUNK;
    for (int64_t step = CHUNK; step > 0; step = step == CHUNK ? 1 : 0)
        for (; row > 0; row -= step) { /* from the top, chunk by chunk, then row by row */
            int64_t count = (int64_t)count_of(tables, apart, threads, lanes, rows, row - step, step);
            if (count >= *rank) break;
            *rank -= count;
        }
    return row > 0 ? (uint32_t)(row - 1) : 0;
}

/* Wait until every thread has called this. */
static void meet(Merge *merge, int threads, int *meetings) {
    int all = ++*meetings * threads;
    atomic_fetch_add(&merge->arrived, 1);
    for (int turns = 0; atomic_load(&merge->arrived) < all;)
        if (turns < 1000)
            turns++;
        else
            YIELD;
}

/* Find all thresholds of a model for a report, and count its exponents. */
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
