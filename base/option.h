/*
 * Option tables: one table a device (or subcommand), from which come parsing, help, the manual
 * page, error messages and the JSON configuration.
 *
 *   --disk a.img,readonly=on,queue-size=256
 *
 * becomes an option_list: {path=a.img, readonly=on, queue-size=256}, then option_apply walks a
 * table and fills a plain C structure. Lists can also be built from JSON; nothing else knows the
 * difference.
 */
#ifndef BASE_OPTION_H
#define BASE_OPTION_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum option_type {
    OPTION_BOOL,    /* bool: on|off|yes|no|true|false */
    OPTION_UINT,    /* uint64_t: decimal or 0x..., within min..max */
    OPTION_SIZE,    /* uint64_t: bytes, with suffix K M G T (powers of 1024) */
    OPTION_STRING,  /* char *, owned by the structure, NULL when absent without default */
    OPTION_CHOICE,  /* int: index in `choices` */
    OPTION_STRINGS, /* struct option_strings: the only kind of key that may be given again */
};

/* The values of a key that was given any number of times, in that order; owned. */
struct option_strings {
    char **items;
    size_t count;
};

struct option_spec {
    const char *key;
    enum option_type type;
    size_t offset;              /* of the field in the structure */
    const char *initial;        /* default, in the syntax of the type; NULL: 0 / NULL */
    const char *help;           /* one line, starts in lower case */
    const char *metavar;        /* for help: "PATH"; NULL: derived from the type */
    const char *const *choices; /* OPTION_CHOICE: NULL-terminated */
    uint64_t min, max;          /* OPTION_UINT and OPTION_SIZE; max 0: no limit */
    bool required;
};

struct option_value {
    char *key, *value; /* owned */
    bool used;
};

/* The options of one device as the user gave them. */
struct option_list {
    char *origin; /* owned; how messages name it: "--disk a.img,..." */
    size_t count, capacity;
    struct option_value *values;
};

/*
 * Parse "value,key=value,key" ("key" alone means key=on; ",," is a literal comma). The first item
 * may lack a key when `first_key` is given. `origin` is copied.
 */
int option_list_parse(struct option_list *list, const char *origin, const char *text,
                      const char *first_key, struct error *err);
int option_list_add(struct option_list *list, const char *key, const char *value,
                    struct error *err);
void option_list_free(struct option_list *list);

/* Find the first unused value and mark it used; NULL when absent. The string stays owned by the
 * list. */
const char *option_list_take(struct option_list *list, const char *key);

/* Take the first unused value of a key out of the list, as if it had not been given; NULL when
 * absent. The caller frees it. */
char *option_list_remove(struct option_list *list, const char *key);

/* The first value of a key without marking it; NULL when absent. */
const char *option_list_peek(const struct option_list *list, const char *key);

/* Set every field of the table in `target` from its default or from the list. -EINVAL names origin,
 * key and reason. On failure strings already set are freed and cleared. */
int option_apply(const struct option_spec *table, size_t count, struct option_list *list,
                 void *target, struct error *err);
void option_release(const struct option_spec *table, size_t count, void *target); /* free strings */

/* -EINVAL for the first value nobody took: "key 'x' is given twice", or "unknown key 'x'", with the
 * nearest of `known` (a NULL-terminated list, may be NULL) as a suggestion. */
int option_list_finish(const struct option_list *list, const char *const *known, struct error *err);

/* Parse single values; `what` names the option in messages. */
int option_parse_bool(const char *what, const char *text, bool *out, struct error *err);
int option_parse_uint(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *out,
                      struct error *err);
int option_parse_size(const char *what, const char *text, uint64_t *out, struct error *err);

/* "  key=METAVAR   help (default: x)" for each row. */
void option_print(FILE *out, const struct option_spec *table, size_t count);

/* The nearest word to `word` by edit distance, or NULL when none is near (typing mistakes). */
const char *option_nearest(const char *word, const char *const *known);

#endif
