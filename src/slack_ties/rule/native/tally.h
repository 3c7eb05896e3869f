/* Count for a report while a block is merged; tally.py explains each number. */
#pragma once
#include "numbers.h"

INLINE double chosen(int where, double x) { return where ? x : 0.0; }

/* Add the entries of a block at or above a magnitude to STRIP sums side by side. */
INLINE void add_reaching(double *strip, const double *x, const int32_t *magnitude, int32_t bits) {
    for (int i = 0; i < STRIP; i++)
        strip[i] += (chosen(magnitude[i] >= bits, x[i]) +
                     chosen(magnitude[i + STRIP] >= bits, x[i + STRIP])) +
                    (chosen(magnitude[i + 2 * STRIP] >= bits, x[i + 2 * STRIP]) +
                     chosen(magnitude[i + 3 * STRIP] >= bits, x[i + 3 * STRIP]));
}

/* Add the products of two blocks in the same way. */
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

/* Return the levels at which negative votes win, at a position where kept entries disagree. `guards`
 * has for each model the levels at which its entry is protected. */
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

/* The buffers of one thread. */
typedef struct {
    float *deltas, *votes;      /* a block for each model */
    uint32_t *guards;           /* a block for each model */
    double *strips;             /* STRIP numbers for each sum */
    uint32_t *ways, *used;      /* for each model, class and set of levels */
    double *way_energy;
    int64_t number_used, *counts;
} Scratch;

static Scratch scratch_of(const Merge *merge, int thread) {
    const Tally *tally = merge->tally;
    int64_t number = merge->number, lost = number * CLASSES * LEVELS;
    int64_t ways = thread * number * CLASSES * WAYS;
    Scratch scratch = {.deltas = tally->deltas + thread * 3 * number * BLOCK,
                 .strips = tally->strips + thread * (tally->sum_size - lost) * STRIP,
                 .ways = tally->ways + ways,
                 .used = tally->used + ways,
                 .way_energy = tally->way_energy + ways,
                 .counts = tally->counts + thread * tally->count_size};
    scratch.votes = scratch.deltas + number * BLOCK;
    scratch.guards = (uint32_t *)scratch.votes + number * BLOCK;
    memset(scratch.strips, 0, (size_t)((tally->sum_size - lost) * STRIP) * sizeof *scratch.strips);
    return scratch;
}

/* Add the counts of a slice to the output, and set them to zero. */
static void clear_scratch(const Merge *merge, Scratch *scratch, int64_t slice) {
    int64_t number = merge->number, of_lost = number * SUMS, lost_size = number * CLASSES * LEVELS;
    double *sums = merge->tally->sums + slice * merge->tally->sum_size;
    for (int64_t k = 0; k < merge->tally->sum_size - lost_size; k++) {
        double *strip = scratch->strips + k * STRIP;
        for (int half = STRIP / 2; half > 0; half /= 2)
            for (int i = 0; i < half; i++) strip[i] += strip[i + half];
        sums[k < of_lost ? k : k + lost_size] = strip[0];
        memset(strip, 0, STRIP * sizeof *strip);
    }
    for (int64_t k = 0; k < scratch->number_used; k++) {
        uint32_t way = scratch->used[k], levels = way % WAYS;
        int64_t row = (int64_t)(way / WAYS) * LEVELS;
        for (int level = 0; level < LEVELS; level++)
            if (levels >> level & 1) {
                scratch->counts[number + row + level] += scratch->ways[way];
                sums[of_lost + row + level] += scratch->way_energy[way];
            }
        scratch->ways[way] = 0;
        scratch->way_energy[way] = 0;
    }
    scratch->number_used = 0;
}

/* Count a block for a report. `ballots` are the sums of the votes of all kept entries, `change` is
 * the merged delta. */
static WIDEST void tally_block(const Merge *merge, Scratch *scratch, int64_t at, int count,
                               const float *origin, const float *ballots, const float *change) {
    const Tally *tally = merge->tally;
    int64_t number = merge->number, *counts = scratch->counts;
    int64_t *pairs = counts + number * (1 + CLASSES * LEVELS);
    int64_t *positions = pairs + number * number * 2;
    double *dots = scratch->strips + number * SUMS * STRIP, *merged = dots + number * number * STRIP;
    float padded[BLOCK];
    double square[BLOCK];
    int32_t magnitude[BLOCK];
    uint32_t positive[BLOCK] = {0}, negative[BLOCK] = {0};
    if (count < BLOCK) memset(padded, 0, sizeof padded);
    memcpy(padded, change, (size_t)count * sizeof *change);
    add_products(merged, padded, padded);
    for (int64_t t = 0; t < number; t++) {
        const Model *model = &merge->models[t];
        float *delta = scratch->deltas + t * BLOCK, *vote = scratch->votes + t * BLOCK;
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
        double *strips = scratch->strips + t * SUMS * STRIP;
        counts[t] += reaching(magnitude, 1);
        add_reaching(strips, square, magnitude, 0);
        add_reaching(strips + STRIP, square, magnitude, trim);
        add_products(strips + 2 * STRIP, padded, delta);
        for (int64_t other = 0; other < t; other++) {
            const float *one = scratch->deltas + other * BLOCK;
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
    /* The rest handles conflicts only. The conflicts of each model are moved to the front of its
     * buffers. */
    uint32_t *guards = scratch->guards;
    uint32_t against[BLOCK];
    float all[BLOCK];
    for (int n = 0; n < conflicts; n++) all[n] = ballots[at_odds[n]];
    for (int64_t t = 0; t < number; t++) {
        const int32_t *bits = tally->models[t].bits;
        float *delta = scratch->deltas + t * BLOCK, *vote = scratch->votes + t * BLOCK;
        uint32_t *guard = guards + t * BLOCK;
        int32_t config = merge->models[t].bits[1], varied = tally->models[t].varied;
        for (int n = 0; n < conflicts; n++) delta[n] = delta[at_odds[n]];
        for (int n = 0; n < conflicts; n++) vote[n] = vote[at_odds[n]];
        for (int n = 0; n < conflicts; n++) {
            int32_t size = (int32_t)(bits_of(delta[n]) & ~SIGN);
            uint32_t now = mask(size >= config), grid = now;
            if (varied) { /* slacks in the grid increase: a protected entry stays protected */
                grid = 0;
                for (int k = 0; k < GRID; k++) grid |= mask(size >= bits[TOPS + k]) & 1u << k;
            }
            guard[n] = (now & 1) << CONFIG | (grid & ((1u << GRID) - 1)) << FIRST_OF_GRID;
        }
    }
    if (number == 2) { /* if only one is protected, it decides; otherwise all kept entries vote */
        const float *one = scratch->votes, *other = scratch->votes + BLOCK;
        for (int n = 0; n < conflicts; n++) {
            uint32_t first = guards[n], second = guards[BLOCK + n];
            against[n] = (mask(all[n] < 0) & ~(first ^ second)) |
                         (first & ~second & mask(one[n] < 0)) |
                         (second & ~first & mask(other[n] < 0));
        }
    } else
        for (int n = 0; n < conflicts; n++)
            against[n] = negative_at(number, guards + n, scratch->votes + n, all[n]);
    for (int n = 0; n < conflicts; n++)
        positions[1] += (against[n] >> TIES ^ against[n] >> CONFIG) & 1;
    for (int64_t t = 0; t < number; t++) {
        const int32_t *bits = tally->models[t].bits;
        const float *delta = scratch->deltas + t * BLOCK, *vote = scratch->votes + t * BLOCK;
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
            if (scratch->ways[way[n]]++ == 0) scratch->used[scratch->number_used++] = way[n];
            scratch->way_energy[way[n]] += square[n];
        }
    }
}
