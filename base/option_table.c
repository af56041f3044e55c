/*
 * Option tables: filling a structure from a list, and printing help.
 */
#include "base/option.h"

#include "base/bytes.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

static void *field_of(const struct option_spec *spec, void *target)
{
    return (char *)target + spec->offset;
}

static int parse_choice(const char *what, const char *text, const char *const *choices, int *out,
                        struct error *err)
{
    char words[200] = "";
    const char *near;

    for (int i = 0; choices[i]; i++)
        if (strcmp(text, choices[i]) == 0) {
            *out = i;
            return 0;
        }
    near = option_nearest(text, choices);
    if (near)
        return error_set(err, EINVAL, "%s: unknown value '%s' (did you mean '%s'?)", what, text,
                         near);
    for (int i = 0; choices[i]; i++) {
        size_t used = strlen(words);
        snprintf(words + used, sizeof(words) - used, "%s%s", i ? ", " : "", choices[i]);
    }
    return error_set(err, EINVAL, "%s: unknown value '%s' (known: %s)", what, text, words);
}

/* In the largest unit that leaves no remainder. */
static const char *size_text(uint64_t size, char text[32])
{
    static const char *const units[] = {"", "K", "M", "G", "T"};
    size_t unit = 0;

    while (size && size % KIB == 0 && unit + 1 < ARRAY_SIZE(units)) {
        size /= KIB;
        unit++;
    }
    snprintf(text, 32, "%" PRIu64 "%s", size, units[unit]);
    return text;
}

static int parse_bounded_size(const struct option_spec *spec, const char *what, const char *text,
                              uint64_t *out, struct error *err)
{
    char bound[32];
    uint64_t size;
    int ret = option_parse_size(what, text, &size, err);

    if (ret)
        return ret;
    if (size < spec->min)
        return error_set(err, EINVAL, "%s: %s is too small (at least %s)", what, text,
                         size_text(spec->min, bound));
    if (spec->max && size > spec->max)
        return error_set(err, EINVAL, "%s: %s is too large (at most %s)", what, text,
                         size_text(spec->max, bound));
    *out = size;
    return 0;
}

static int set_string(char **field, const char *what, const char *text, struct error *err)
{
    *field = strdup(text);
    return *field ? 0 : error_set(err, ENOMEM, "%s: no memory", what);
}

static int strings_add(struct option_strings *strings, const char *what, const char *text,
                       struct error *err)
{
    char **grown = realloc(strings->items, (strings->count + 1) * sizeof(*grown));

    if (!grown)
        return error_set(err, ENOMEM, "%s: no memory", what);
    strings->items = grown;
    grown[strings->count] = strdup(text);
    if (!grown[strings->count])
        return error_set(err, ENOMEM, "%s: no memory", what);
    strings->count++;
    return 0;
}

static void strings_free(struct option_strings *strings)
{
    for (size_t i = 0; i < strings->count; i++)
        free(strings->items[i]);
    free(strings->items);
    *strings = (struct option_strings){0};
}

static int parse_value(const struct option_spec *spec, const char *what, const char *text,
                       void *field, struct error *err)
{
    switch (spec->type) {
    case OPTION_BOOL:
        return option_parse_bool(what, text, field, err);
    case OPTION_UINT:
        return option_parse_uint(what, text, spec->min, spec->max, field, err);
    case OPTION_SIZE:
        return parse_bounded_size(spec, what, text, field, err);
    case OPTION_STRING:
        return set_string(field, what, text, err);
    case OPTION_CHOICE:
        return parse_choice(what, text, spec->choices, field, err);
    case OPTION_STRINGS:
        return strings_add(field, what, text, err);
    }
    return -EINVAL;
}

static void clear_field(const struct option_spec *spec, void *field)
{
    switch (spec->type) {
    case OPTION_BOOL:
        *(bool *)field = false;
        break;
    case OPTION_UINT:
    case OPTION_SIZE:
        *(uint64_t *)field = 0;
        break;
    case OPTION_STRING:
        *(char **)field = NULL;
        break;
    case OPTION_CHOICE:
        *(int *)field = 0;
        break;
    case OPTION_STRINGS:
        *(struct option_strings *)field = (struct option_strings){0};
        break;
    }
}

static int apply_row(const struct option_spec *spec, struct option_list *list, void *field,
                     struct error *err)
{
    const char *origin = list->origin ? list->origin : "options";
    const char *text = option_list_take(list, spec->key);
    char what[300];
    int ret;

    if (!text && spec->required)
        return error_set(err, EINVAL, "%s: key '%s' is missing", origin, spec->key);
    if (!text)
        text = spec->initial;
    if (!text)
        return 0;
    snprintf(what, sizeof(what), "%s: %s", origin, spec->key);
    do
        ret = parse_value(spec, what, text, field, err);
    while (!ret && spec->type == OPTION_STRINGS && (text = option_list_take(list, spec->key)));
    return ret;
}

int option_apply(const struct option_spec *table, size_t count, struct option_list *list,
                 void *target, struct error *err)
{
    for (size_t i = 0; i < count; i++)
        clear_field(&table[i], field_of(&table[i], target));
    for (size_t i = 0; i < count; i++) {
        int ret = apply_row(&table[i], list, field_of(&table[i], target), err);
        if (ret) {
            option_release(table, count, target);
            return ret;
        }
    }
    return 0;
}

void option_release(const struct option_spec *table, size_t count, void *target)
{
    for (size_t i = 0; i < count; i++) {
        void *field = field_of(&table[i], target);

        if (table[i].type == OPTION_STRINGS) {
            strings_free(field);
        } else if (table[i].type == OPTION_STRING) {
            free(*(char **)field);
            *(char **)field = NULL;
        }
    }
}

static void metavar(const struct option_spec *spec, char *text, size_t size)
{
    static const char *const of_type[] = {
        [OPTION_BOOL] = "on|off", [OPTION_UINT] = "N",       [OPTION_SIZE] = "SIZE",
        [OPTION_STRING] = "TEXT", [OPTION_STRINGS] = "TEXT",
    };
    size_t used = 0;

    if (spec->metavar || spec->type != OPTION_CHOICE) {
        snprintf(text, size, "%s", spec->metavar ? spec->metavar : of_type[spec->type]);
        return;
    }
    text[0] = '\0';
    for (size_t i = 0; spec->choices[i] && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%s", i ? "|" : "", spec->choices[i]);
}

/* Longer keys have a line of their own. */
#define KEY_WIDTH_MAX 28

void option_print(FILE *out, const struct option_spec *table, size_t count)
{
    char text[120];
    size_t width = 0;

    for (size_t i = 0; i < count; i++) {
        size_t length;

        metavar(&table[i], text, sizeof(text));
        length = strlen(table[i].key) + 1 + strlen(text);
        if (length <= KEY_WIDTH_MAX)
            width = MAX(width, length);
    }
    for (size_t i = 0; i < count; i++) {
        const struct option_spec *spec = &table[i];
        int column = (int)width + 4, written;

        metavar(spec, text, sizeof(text));
        written = fprintf(out, "  %s=%s", spec->key, text);
        if (written + 2 > column)
            written = fprintf(out, "\n") - 1;
        fprintf(out, "%*s%s", column - written, "", spec->help ? spec->help : "");
        if (spec->required)
            fprintf(out, " (required)");
        else if (spec->initial)
            fprintf(out, " (default: %s)", spec->initial);
        fputc('\n', out);
    }
}
