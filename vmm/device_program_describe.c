#include "vmm/device_program_describe.h"

#include "base/bytes.h"
#include "base/module.h"
#include "vmm/device_program_options.h"
#include "vmm/device_setup.h"
#include "vmm/discovery.h"
#include "vmm/discovery/discovery_json.h"
#include "vmm/exit_status.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define ALIASES_MAX 8

static int fail(const struct error *err)
{
    fprintf(stderr, "vireo: %s\n", err->text);
    return EXIT_USAGE;
}

int device_program_print_capabilities(const char *type)
{
    const char *features[ALIASES_MAX + 1] = {0};
    const struct discovery_module *json;
    const struct virtio_model *model = device_model_find(type);
    struct error err = ERROR_INIT;
    struct module module;
    int ret;

    if (!model || !virtio_model_exists(model)) {
        error_set(&err, EINVAL, "no device type '%s'", type);
        return fail(&err);
    }
    for (size_t i = 0; i < ALIASES_MAX; i++)
        features[i] = program_option_alias(type, i);
    if (module_load(&module, "discovery", &err))
        return fail(&err);
    json = module.table;
    ret = json->write_capabilities(stdout, discovery_type(type), features, &err);
    module_unload(&module);
    return ret ? fail(&err) : EXIT_POWEROFF;
}

/* --- discovery files -------------------------------------------------------------------------- */

struct place {
    char *directory, *programs;
};

static const struct option_spec place_options[] = {
    {.key = "write-discovery",
     .type = OPTION_STRING,
     .offset = offsetof(struct place, directory),
     .required = true},
    {.key = "programs",
     .type = OPTION_STRING,
     .offset = offsetof(struct place, programs),
     .required = true},
};

static int write_file(const struct discovery_module *json, const struct place *place,
                      const struct virtio_model *model, struct error *err)
{
    char path[4096], binary[4096], description[256];
    const struct discovery_entry entry = {description,
                                          (char *)(uintptr_t)discovery_type(model->name), binary};
    FILE *out;
    int ret;

    snprintf(path, sizeof(path), "%s/60-vireo-%s.json", place->directory, model->name);
    snprintf(binary, sizeof(binary), "%s/vhost-user-%s", place->programs, model->name);
    snprintf(description, sizeof(description), "Vireo: %s", model->help);
    out = fopen(path, "we");
    if (!out)
        return error_errno(err, errno, "cannot write '%s'", path);
    ret = json->write(out, &entry, err);
    if (fclose(out) != 0 && !ret)
        ret = error_errno(err, errno, "cannot write '%s'", path);
    if (!ret)
        printf("vhost-user-%s\n", model->name);
    return ret;
}

static int write_all(const struct place *place, struct error *err)
{
    struct module module;
    int ret = module_load(&module, "discovery", err);

    if (ret)
        return ret;
    if (mkdir(place->directory, 0777) < 0 && errno != EEXIST)
        ret = error_errno(err, errno, "cannot make the directory '%s'", place->directory);
    for (size_t i = 0; device_models[i] && !ret; i++)
        if (virtio_model_exists(device_models[i]))
            ret = write_file(module.table, place, device_models[i], err);
    module_unload(&module);
    return ret;
}

int device_program_write_discovery(int argc, char **argv)
{
    static const char *const known[] = {"write-discovery", "programs", NULL};
    struct option_list list = {0};
    struct error err = ERROR_INIT;
    struct place place = {0};
    int ret = option_list_parse(&list, "device", "", NULL, &err);

    for (int i = 0; i < argc && !ret; i++) {
        char *name = argv[i] + strspn(argv[i], "-"), *value = strchr(name, '=');

        if (value)
            *value++ = '\0';
        ret = option_list_add(&list, name, value ? value : "on", &err);
    }
    if (!ret)
        ret = option_apply(place_options, ARRAY_SIZE(place_options), &list, &place, &err);
    if (!ret)
        ret = option_list_finish(&list, known, &err);
    if (!ret)
        ret = write_all(&place, &err);
    option_release(place_options, ARRAY_SIZE(place_options), &place);
    option_list_free(&list);
    return ret ? fail(&err) : EXIT_POWEROFF;
}
