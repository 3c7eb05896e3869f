/* The rule of `slack_ties` for CPUs, in float32. It makes the same bytes as blockwise.py.
 *
 * All work is done block by block, in buffers that stay in the first-level cache. Each model is read
 * twice to find its thresholds and once to merge, and no buffer is as large as a tensor.
 * Conditions are bit masks: so every compiler can vectorise every loop. Each sum, product and
 * quotient is rounded separately (the build forbids fused multiply-add), in the order of the models.
 * So the width of a vector and the division of work among threads do not change the result.
 *
 * slack_ties_run starts threads, which take slices of the tensor until none is left, and joins them.
 * It keeps no state, and kernel.py allocates its buffers. If a thread cannot be started, the others
 * do its work.
 */
#include "count.h"
#include "tally.h"

/* Merge slices. */
static WIDEST int merge_slices(Merge *merge, int64_t pass, int thread) {
    float origin[BLOCK], other[BLOCK], ballots[BLOCK], first_ballots[BLOCK];
    float total[BLOCK], divisor[BLOCK];
    uint32_t any_protected[BLOCK], flip[BLOCK];
    uint32_t wrong = 0;
    Scratch scratch = {0};
    if (merge->tally) scratch = scratch_of(merge, thread);
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
            for (int i = 0; i < count; i++) { /* flip: the sign bit if negative votes win, else 0 */
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
                /* Where nothing is added, keep the base's bits: -0.0 + 0.0 would be 0.0. */
                uint32_t same = mask((bits_of(change) & ~SIGN) == 0);
                total[i] = float_of(choose(same, bits_of(origin[i]), bits_of(origin[i] + change)));
            }
            wrong |= (uint32_t)store(total, count, merge->out, merge->base.type, at);
            if (merge->tally) tally_block(merge, &scratch, at, count, origin, ballots, divisor);
        }
        if (merge->tally) clear_scratch(merge, &scratch, slice);
    }
    return wrong != 0;
}

/* Do one thread's part of a merge. */
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
        uint32_t upper[RANKS] = {~0u, ~0u}; /* no magnitude has this upper digit */
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
    fenv_t before; /* the caller's, which may turn denormals off; threads inherit ours */
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

/* The SHA-256 of the source files of this build: kernel.py compares it. */
#define STRING_OF(value) #value
#define STRING(value) STRING_OF(value)
API const char *slack_ties_source(void) { return STRING(SOURCE); }
