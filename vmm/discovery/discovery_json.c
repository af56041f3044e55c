#include "vmm/discovery/discovery_json.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_MAX (64 * 1024)

extern const struct discovery_module vireo_module_discovery;

/* One object; NULL with the reason. */
static json_t *read_object(FILE *in, struct error *err)
{
    char *text = malloc(INPUT_MAX);
    size_t length = text ? fread(text, 1, INPUT_MAX, in) : 0;
    json_t *root = NULL;
    json_error_t parse;

    if (!text)
        error_set(err, ENOMEM, "no memory");
    else if (length == INPUT_MAX)
        error_set(err, EFBIG, "it is longer than %d bytes", INPUT_MAX - 1);
    else if (!(root = json_loadb(text, length, 0, &parse)))
        error_set(err, EINVAL, "line %d column %d: %s", parse.line, parse.column, parse.text);
    free(text);
    if (root && !json_is_object(root)) {
        error_set(err, EINVAL, "it is no JSON object");
        json_decref(root);
        root = NULL;
    }
    return root;
}

static int take_text(const json_t *root, const char *key, char **out, struct error *err)
{
    const char *text = json_string_value(json_object_get(root, key));

    if (!text)
        return error_set(err, EINVAL, "'%s' must be there, and a string", key);
    *out = strdup(text);
    return *out ? 0 : error_set(err, ENOMEM, "no memory");
}

static int discovery_read(FILE *in, struct discovery_entry *out, struct error *err)
{
    json_t *root = read_object(in, err);
    int ret;

    *out = (struct discovery_entry){0};
    if (!root)
        return -EINVAL;
    ret = take_text(root, "description", &out->description, err);
    if (!ret)
        ret = take_text(root, "type", &out->type, err);
    if (!ret)
        ret = take_text(root, "binary", &out->binary, err);
    if (!ret && out->binary[0] != '/')
        ret = error_set(err, EINVAL, "'binary' must be an absolute path");
    json_decref(root);
    if (ret) {
        free(out->description);
        free(out->type);
        free(out->binary);
    }
    return ret;
}

static int capabilities_read(FILE *in, char **type, struct error *err)
{
    json_t *root = read_object(in, err);
    int ret = root ? take_text(root, "type", type, err) : -EINVAL;

    json_decref(root);
    return ret;
}

/* Takes the object. */
static int write_object(FILE *out, json_t *object, struct error *err)
{
    int ret = object ? json_dumpf(object, out, JSON_INDENT(2)) : -1;

    json_decref(object);
    if (ret || fputc('\n', out) == EOF)
        return error_set(err, EIO, "cannot write JSON");
    return 0;
}

static int discovery_write(FILE *out, const struct discovery_entry *entry, struct error *err)
{
    return write_object(out,
                        json_pack("{s:s, s:s, s:s}", "description", entry->description, "type",
                                  entry->type, "binary", entry->binary),
                        err);
}

static int capabilities_write(FILE *out, const char *type, const char *const *features,
                              struct error *err)
{
    json_t *list = json_array();

    for (size_t i = 0; features[i]; i++)
        json_array_append_new(list, json_string(features[i]));
    return write_object(out, json_pack("{s:s, s:o}", "type", type, "features", list), err);
}

const struct discovery_module vireo_module_discovery = {
    .read = discovery_read,
    .write = discovery_write,
    .read_capabilities = capabilities_read,
    .write_capabilities = capabilities_write,
};
