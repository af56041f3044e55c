#include "base/option.h"

#include "base/bytes.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>

int option_parse_bool(const char *what, const char *text, bool *out, struct error *err)
{
    static const char *const words[] = {"off", "on", "no", "yes", "false", "true"};

    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (strcmp(text, words[i]) == 0) {
            *out = i & 1;
            return 0;
        }
    return error_set(err, EINVAL, "%s: '%s' is neither on nor off", what, text);
}

/* A number and what follows it. No sign, no leading space, no octal: 010 is ten. */
static int parse_number(const char *text, uint64_t *out, const char **rest)
{
    int base = 10;
    char *end;

    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
        base = 16;
        text += 2;
    }
    if (!strchr(base == 16 ? "0123456789abcdefABCDEF" : "0123456789", *text) || !*text)
        return -EINVAL;
    errno = 0;
    *out = strtoull(text, &end, base);
    *rest = end;
    return errno ? -ERANGE : 0;
}

int option_parse_uint(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *out,
                      struct error *err)
{
    const char *rest = "";
    uint64_t value = 0;
    int ret = parse_number(text, &value, &rest);

    if (!max)
        max = UINT64_MAX;
    if (ret == -EINVAL || *rest)
        return error_set(err, EINVAL, "%s: '%s' is not a number", what, text);
    if (!ret && value >= min && value <= max) {
        *out = value;
        return 0;
    }
    if (max == UINT64_MAX)
        return error_set(err, EINVAL, "%s: %s is out of range (at least %" PRIu64 ")", what, text,
                         min);
    return error_set(err, EINVAL, "%s: %s is out of range (%" PRIu64 " to %" PRIu64 ")", what, text,
                     min, max);
}

int option_parse_size(const char *what, const char *text, uint64_t *out, struct error *err)
{
    static const char suffixes[] = "KMGT";
    const char *rest = "", *suffix;
    uint64_t value = 0;
    unsigned shift = 0;
    int ret = parse_number(text, &value, &rest);

    if (ret != -EINVAL && *rest) {
        suffix = strchr(suffixes, *rest >= 'a' ? *rest - 'a' + 'A' : *rest);
        if (!suffix || rest[1])
            ret = -EINVAL;
        else
            shift = (unsigned)(suffix - suffixes + 1) * 10;
    }
    if (ret == -EINVAL)
        return error_set(err, EINVAL, "%s: '%s' is not a size (such as 4096, 64K, 512M or 2G)",
                         what, text);
    if (ret || value > UINT64_MAX >> shift)
        return error_set(err, EINVAL, "%s: %s is too large", what, text);
    *out = value << shift;
    return 0;
}

#define WORD_MAX 48

/* Insertions, deletions, replacements and swaps of neighbours (optimal string alignment). */
static size_t edit_distance(const char *a, const char *b)
{
    unsigned char rows[3][WORD_MAX + 1];
    unsigned char *before = rows[0], *last = rows[1], *row = rows[2];
    size_t length_a = strlen(a), length_b = strlen(b);

    if (length_a > WORD_MAX || length_b > WORD_MAX)
        return SIZE_MAX;
    for (size_t j = 0; j <= length_b; j++)
        last[j] = (unsigned char)j;
    for (size_t i = 1; i <= length_a; i++) {
        unsigned char *recycled = before;
        row[0] = (unsigned char)i;
        for (size_t j = 1; j <= length_b; j++) {
            int cost = a[i - 1] != b[j - 1];
            int best = MIN(MIN(last[j] + 1, row[j - 1] + 1), last[j - 1] + cost);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = MIN(best, before[j - 2] + 1);
            row[j] = (unsigned char)best;
        }
        before = last;
        last = row;
        row = recycled;
    }
    return last[length_b];
}

const char *option_nearest(const char *word, const char *const *known)
{
    size_t length = strlen(word), nearest = length / 3 + 2;
    const char *found = NULL;

    for (; *known; known++) {
        size_t distance = edit_distance(word, *known);
        /* Not what shares hardly a letter with it. */
        if (distance < nearest && distance < MAX(length, (size_t)2) && distance < strlen(*known)) {
            nearest = distance;
            found = *known;
        }
    }
    return found;
}
