/* The rule of `slack_ties` for CPUs, in float32: what blockwise.py does, to the same bytes.
 *
 * Everything is computed a block at a time, in buffers that stay in the first cache: inputs are
 * read twice to find the thresholds and once to merge, and nothing as large as a tensor is made.
 * Conditions are bit masks, so that every compiler can vectorise every loop; what is added,
 * multiplied and divided is rounded by itself (the build forbids fused multiply-add), in the
 * order of the models. So neither the width of a vector nor who computes what shows in the result.
 *
 * Python calls this with ranges of the same tensors, a thread each (kernel.py). Nothing here
 * allocates, fails or keeps state.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef _WIN32
#define API __declspec(dllexport)
#else
#define API __attribute__((visibility("default")))
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

enum { BLOCK = 256 }; /* entries in work at a time: 1 KiB a buffer */
enum { DIGIT = 16, ROWS = 1 << DIGIT, LANES = 4 }; /* a table has a row per digit */
enum { CHUNK = 256 };
enum { FLOAT16, BFLOAT16, FLOAT32 }; /* kernel.py has the same list */

static const uint32_t SIGN = 0x80000000, INFINITE = 0x7f800000;

typedef struct {
    const void *data;
    int32_t type;
} Tensor;

typedef struct {
    Tensor tensor;
    float weight;
    int32_t trim;    /* bits of the smallest magnitude that is kept */
    int32_t protect; /* bits of the smallest that is protected, not zero; above infinity: none */
} Model;

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
    for (int i = 0; i < count; i++) wrong |= mask((bits_of(from[i]) & ~SIGN) >= INFINITE);
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

/* Count the upper 16 bits of the magnitudes of model - base, of which the first is 0. `tables` holds
 * LANES tables of ROWS / 2 counts, to be added up: in one, an entry that is equal to the entry
 * before it would wait for that to be counted. */
API WIDEST void slack_ties_count(Tensor base, Tensor model, int64_t start, int64_t end,
                                 uint32_t *tables) {
    float origin[BLOCK], other[BLOCK];
    uint32_t digit[BLOCK];
    for (int64_t at = start; at < end; at += BLOCK) {
        int count = block_at(at, end), i = 0;
        load(base, at, count, origin);
        load(model, at, count, other);
        for (i = 0; i < count; i++)
            digit[i] = (bits_of(other[i] - origin[i]) & ~SIGN) >> DIGIT;
        for (i = 0; i + LANES <= count; i += LANES)
            for (int lane = 0; lane < LANES; lane++) tables[lane * (ROWS / 2) + digit[i + lane]]++;
        for (; i < count; i++) tables[digit[i]]++;
    }
}

/* Count the lower 16 bits of those whose upper ones are prefixes[0], in the first table, and of
 * those whose upper ones are prefixes[1], in the second. */
API WIDEST void slack_ties_count_rest(Tensor base, Tensor model, int64_t start, int64_t end,
                                      const uint32_t *prefixes, uint32_t *tables) {
    float origin[BLOCK], other[BLOCK];
    uint32_t bits[BLOCK];
    uint8_t hit[BLOCK] = {0};
    uint64_t group; /* of eight entries: in most there is no hit */
    uint32_t one = prefixes[0], two = prefixes[1];
    for (int64_t at = start; at < end; at += BLOCK) {
        int count = block_at(at, end);
        load(base, at, count, origin);
        load(model, at, count, other);
        for (int i = 0; i < count; i++) bits[i] = bits_of(other[i] - origin[i]) & ~SIGN;
        for (int i = 0; i < count; i++)
            hit[i] = (uint8_t)((bits[i] >> DIGIT == one) | (bits[i] >> DIGIT == two));
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

/* Return the row in which the rank-th largest is, and in *rank its rank within the row. The row's
 * count is the sum over `number` tables of `rows` rows, `stride` counts apart. */
API WIDEST uint32_t slack_ties_find(const uint32_t *tables, int64_t number, int64_t stride,
                                    int64_t rows, int64_t *rank) {
    uint64_t count = 0;
    while (rows > 0) { /* from the top, a chunk of rows at a time */
        count = 0;
        for (int64_t table = 0; table < number; table++)
            for (int64_t row = rows - CHUNK; row < rows; row++) count += tables[table * stride + row];
        if (count >= (uint64_t)*rank) break;
        *rank -= (int64_t)count;
        rows -= CHUNK;
    }
    while (rows > 0) {
        rows--;
        count = 0;
        for (int64_t table = 0; table < number; table++) count += tables[table * stride + rows];
        if (count >= (uint64_t)*rank) break;
        *rank -= (int64_t)count;
    }
    return (uint32_t)rows;
}

/* Merge entries start to end into `out`, of the base's type. Returns whether a delta or a result
 * is infinite or not a number. */
API WIDEST int slack_ties_merge(Tensor base, const Model *models, int64_t number, int normalize,
                                float lambda, int64_t start, int64_t end, void *out) {
    float origin[BLOCK], other[BLOCK], ballots[BLOCK], first_ballots[BLOCK];
    float total[BLOCK], divisor[BLOCK];
    uint32_t any_protected[BLOCK], flip[BLOCK];
    uint32_t wrong = 0;
    for (int64_t at = start; at < end; at += BLOCK) {
        int count = block_at(at, end);
        load(base, at, count, origin);
        memset(ballots, 0, sizeof ballots);
        memset(first_ballots, 0, sizeof first_ballots);
        memset(any_protected, 0, sizeof any_protected);
        memset(total, 0, sizeof total);
        memset(divisor, 0, sizeof divisor);
        for (int64_t t = 0; t < number; t++) {
            Model model = models[t];
            load(model.tensor, at, count, other);
            for (int i = 0; i < count; i++) {
                float change = other[i] - origin[i];
                int32_t magnitude = (int32_t)(bits_of(change) & ~SIGN);
                uint32_t vote = bits_of(change * model.weight) & mask(magnitude >= model.trim);
                uint32_t protected = mask(magnitude >= model.protect);
                wrong |= mask(magnitude >= (int32_t)INFINITE);
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
        for (int64_t t = 0; t < number; t++) {
            Model model = models[t];
            load(model.tensor, at, count, other);
            for (int i = 0; i < count; i++) {
                float change = other[i] - origin[i];
                int32_t magnitude = (int32_t)(bits_of(change) & ~SIGN);
                uint32_t vote = bits_of(change * model.weight) & mask(magnitude >= model.trim);
                uint32_t agrees = mask((int32_t)(vote ^ flip[i]) > 0);
                total[i] += float_of(vote & agrees);
                divisor[i] += float_of(bits_of(model.weight) & agrees);
            }
        }
        for (int i = 0; i < count; i++) {
            uint32_t none = mask((bits_of(divisor[i]) & ~SIGN) == 0) | mask(!normalize);
            float change = total[i] / float_of(choose(none, bits_of(1.0f), bits_of(divisor[i])));
            change *= lambda;
            /* Where nothing is added the base stays bit for bit: -0.0 + 0.0 would be 0.0. */
            uint32_t same = mask((bits_of(change) & ~SIGN) == 0);
            total[i] = float_of(choose(same, bits_of(origin[i]), bits_of(origin[i] + change)));
        }
        wrong |= (uint32_t)store(total, count, out, base.type, at);
    }
    return wrong != 0;
}

/* The sha256 of the kernel.c that this was built from. */
#define TEXT_OF(value) #value
#define TEXT(value) TEXT_OF(value)
API const char *slack_ties_source(void) { return TEXT(SOURCE); }
