/* Configuration files: the module that reads JSON and hands out names and values. */
#include "vmm/config/config_json.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What config_load was asked for. */
struct reading {
    const char *path;
    int (*set)(void *opaque, const char *name, const char *value, struct error *err);
    void *opaque;
};

extern const struct config_json_module vireo_module_config;

/* A scalar as the command line would have it; owned by the caller. NULL for arrays and objects. */
static char *scalar_text(const json_t *value)
{
    char *text = NULL;

    switch (json_typeof(value)) {
    case JSON_STRING:
        return strdup(json_string_value(value));
    case JSON_INTEGER:
        return asprintf(&text, "%" JSON_INTEGER_FORMAT, json_integer_value(value)) < 0 ? NULL
                                                                                       : text;
    case JSON_TRUE:
        return strdup("on");
    case JSON_FALSE:
        return strdup("off");
    default:
        return NULL;
    }
}

/* Append "key=value" with commas in the value doubled, as option_list_parse reads it. */
static void write_pair(FILE *out, const char *key, const char *value, bool first)
{
    fprintf(out, "%s%s=", first ? "" : ",", key);
    for (; *value; value++) {
        if (*value == ',')
            fputc(',', out);
        fputc(*value, out);
    }
}

/* Append a value; an array is a key given again for each item. False: it is not a scalar. */
static bool write_value(FILE *out, const char *key, json_t *value, bool *first)
{
    char *scalar = scalar_text(value);
    json_t *item;
    size_t i;

    if (scalar) {
        write_pair(out, key, scalar, *first);
        *first = false;
        free(scalar);
        return true;
    }
    if (!json_is_array(value))
        return false;
    json_array_foreach(value, i, item)
    {
        if (json_is_array(item) || !write_value(out, key, item, first))
            return false;
    }
    return true;
}

static char *object_text(const struct reading *reading, const char *name, json_t *object,
                         struct error *err)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    const char *key;
    json_t *value;
    bool first = true, bad = false;

    if (!out) {
        error_set(err, ENOMEM, "no memory for options");
        return NULL;
    }
    json_object_foreach(object, key, value)
    {
        bad = !write_value(out, key, value, &first);
        if (!bad)
            continue;
        error_set(err, EINVAL,
                  "%s: %s: '%s' must be a string, a whole number, true or false, or an array of "
                  "these where a key may be given again",
                  reading->path, name, key);
        break;
    }
    fclose(out);
    if (bad) {
        free(text);
        return NULL;
    }
    return text;
}

static int set_value(const struct reading *reading, const char *name, json_t *value,
                     struct error *err)
{
    char *text;
    int ret;

    if (json_is_object(value)) {
        text = object_text(reading, name, value, err);
        if (!text)
            return -EINVAL;
    } else {
        text = scalar_text(value);
        if (!text)
            return error_set(err, EINVAL,
                             "%s: %s: must be a string, a whole number, true, false or an object",
                             reading->path, name);
    }
    ret = reading->set(reading->opaque, name, text, err);
    free(text);
    return ret;
}

static int set_all(const struct reading *reading, json_t *root, struct error *err)
{
    const char *name;
    json_t *value, *item;
    size_t i;

    json_object_foreach(root, name, value)
    {
        int ret = 0;
        if (json_is_array(value)) {
            json_array_foreach(value, i, item)
            {
                ret = set_value(reading, name, item, err);
                if (ret)
                    return ret;
            }
        } else {
            ret = set_value(reading, name, value, err);
        }
        if (ret)
            return ret;
    }
    return 0;
}

static int config_load(const char *path,
                       int (*set)(void *opaque, const char *name, const char *value,
                                  struct error *err),
                       void *opaque, struct error *err)
{
    const struct reading reading = {path, set, opaque};
    FILE *file = fopen(path, "re");
    json_error_t parse;
    json_t *root;
    int ret;

    if (!file)
        return error_errno(err, errno, "cannot open '%s'", path);
    root = json_loadf(file, JSON_REJECT_DUPLICATES, &parse);
    fclose(file);
    if (!root)
        return error_set(err, EINVAL, "'%s', line %d column %d: %s", path, parse.line, parse.column,
                         parse.text);
    if (json_is_object(root))
        ret = set_all(&reading, root, err);
    else
        ret = error_set(err, EINVAL, "'%s': the file must hold one JSON object", path);
    json_decref(root);
    return ret;
}

const struct config_json_module vireo_module_config = {.load = config_load};
