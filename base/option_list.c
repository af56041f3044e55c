/*
 * Lists of options as the user gave them: splitting, keeping, and naming what nobody knew.
 */
#include "base/option.h"

#include "base/bytes.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

/* A list that was filled without option_list_parse may have no origin. */
static const char *origin_of(const struct option_list *list)
{
    return list->origin ? list->origin : "options";
}

static int no_memory(const struct option_list *list, struct error *err)
{
    return error_set(err, ENOMEM, "%s: no memory for options", origin_of(list));
}

/* Long ones are cut, lest an error had no room for its reason. */
static char *copy_origin(const char *origin)
{
    const size_t longest = 200;
    char *copy = strdup(origin);

    if (copy && strlen(copy) > longest)
        strcpy(copy + longest - 3, "...");
    return copy;
}

static int list_grow(struct option_list *list, struct error *err)
{
    size_t capacity = list->capacity ? list->capacity * 2 : 4;
    struct option_value *grown;

    if (list->count < list->capacity)
        return 0;
    grown = realloc(list->values, capacity * sizeof(*grown));
    if (!grown)
        return no_memory(list, err);
    list->values = grown;
    list->capacity = capacity;
    return 0;
}

int option_list_add(struct option_list *list, const char *key, const char *value, struct error *err)
{
    struct option_value *added;
    int ret;

    ret = list_grow(list, err);
    if (ret)
        return ret;
    added = &list->values[list->count];
    *added = (struct option_value){.key = strdup(key), .value = strdup(value)};
    if (!added->key || !added->value) {
        free(added->key);
        free(added->value);
        return no_memory(list, err);
    }
    list->count++;
    return 0;
}

/* Cut the first item off `*rest`, in place: ",," in it becomes ",". NULL rest: that was the last.
 */
static char *next_item(char **rest)
{
    char *item = *rest, *from = item, *to = item;

    for (; *from && !(from[0] == ',' && from[1] != ','); from++) {
        if (*from == ',')
            from++;
        *to++ = *from;
    }
    *rest = *from ? from + 1 : NULL;
    *to = '\0';
    return item;
}

/* The '=' behind a key; a file name with an '=' in it hardly looks like a key before it. */
static char *end_of_key(char *item)
{
    char *end = item;

    while (isalnum((unsigned char)*end) || *end == '-' || *end == '_')
        end++;
    return *end == '=' ? end : NULL;
}

static int add_item(struct option_list *list, char *item, const char *first_key, struct error *err)
{
    char *equals = end_of_key(item);

    if (!*item)
        return error_set(err, EINVAL, "%s: there is an empty item (a literal comma is ',,')",
                         origin_of(list));
    if (!equals && first_key)
        return option_list_add(list, first_key, item, err);
    if (equals == item)
        return error_set(err, EINVAL, "%s: there is no key before '%s'", origin_of(list), item);
    if (!equals)
        return option_list_add(list, item, "on", err);
    *equals = '\0';
    return option_list_add(list, item, equals + 1, err);
}

int option_list_parse(struct option_list *list, const char *origin, const char *text,
                      const char *first_key, struct error *err)
{
    char *copy = strdup(text), *rest = copy;
    int ret = 0;

    *list = (struct option_list){.origin = copy_origin(origin)};
    if (!copy || !list->origin)
        ret = error_set(err, ENOMEM, "%s: no memory for options", origin);
    else if (!*text)
        rest = NULL;
    while (!ret && rest) {
        ret = add_item(list, next_item(&rest), first_key, err);
        first_key = NULL;
    }
    free(copy);
    if (ret)
        option_list_free(list);
    return ret;
}

void option_list_free(struct option_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->values[i].key);
        free(list->values[i].value);
    }
    free(list->values);
    free(list->origin);
    *list = (struct option_list){0};
}

static struct option_value *find_unused(struct option_list *list, const char *key)
{
    for (size_t i = 0; i < list->count; i++)
        if (!list->values[i].used && strcmp(list->values[i].key, key) == 0)
            return &list->values[i];
    return NULL;
}

const char *option_list_take(struct option_list *list, const char *key)
{
    struct option_value *found = find_unused(list, key);

    if (!found)
        return NULL;
    found->used = true;
    return found->value;
}

char *option_list_remove(struct option_list *list, const char *key)
{
    struct option_value *found = find_unused(list, key);
    char *value;

    if (!found)
        return NULL;
    value = found->value;
    free(found->key);
    list->count--;
    memmove(found, found + 1, (size_t)(list->values + list->count - found) * sizeof(*found));
    return value;
}

const char *option_list_peek(const struct option_list *list, const char *key)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->values[i].key, key) == 0)
            return list->values[i].value;
    return NULL;
}

/* Somebody took an earlier value of this key. */
static bool given_before(const struct option_list *list, size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (list->values[i].used && strcmp(list->values[i].key, list->values[index].key) == 0)
            return true;
    return false;
}

int option_list_finish(const struct option_list *list, const char *const *known, struct error *err)
{
    for (size_t i = 0; i < list->count; i++) {
        const char *key = list->values[i].key;
        const char *near;

        if (list->values[i].used)
            continue;
        if (given_before(list, i))
            return error_set(err, EINVAL, "%s: key '%s' is given twice", origin_of(list), key);
        near = known ? option_nearest(key, known) : NULL;
        if (near)
            return error_set(err, EINVAL, "%s: unknown key '%s' (did you mean '%s'?)",
                             origin_of(list), key, near);
        return error_set(err, EINVAL, "%s: unknown key '%s'", origin_of(list), key);
    }
    return 0;
}
