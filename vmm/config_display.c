/*
 * --display and --screenshot.
 */
#include "vmm/config_internal.h"

#include "devices/display/viewer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOBODY     "none"
#define SCREENSHOT "png"

static const struct display_viewer_kind *find_kind(const char *name, const char *origin,
                                                   struct error *err)
{
    const char *names[DISPLAY_VIEWER_KINDS_MAX + 2] = {NOBODY};
    const char *near;

    for (size_t i = 0; display_viewer_kinds[i]; i++) {
        if (strcmp(display_viewer_kinds[i]->name, name) == 0)
            return display_viewer_kinds[i];
        names[i + 1] = display_viewer_kinds[i]->name;
    }
    near = option_nearest(name, names);
    if (near)
        error_set(err, EINVAL, "%s: no display '%s' (did you mean '%s'?)", origin, name, near);
    else
        error_set(err, EINVAL, "%s: no display '%s'; 'vireo help display' lists them", origin,
                  name);
    return NULL;
}

/* `options`: all behind the kind, "=WHERE,KEY=VALUE" or ",KEY=VALUE" or nothing. */
static int add_display(struct vm_config *config, const struct display_viewer_kind *kind,
                       const char *origin, const char *options, struct error *err)
{
    struct display_config *grown =
        realloc(config->displays, (config->display_count + 1) * sizeof(*grown));
    struct display_config *display;
    int ret = 0;

    if (!grown)
        return error_set(err, ENOMEM, "no memory for options");
    config->displays = grown;
    display = &grown[config->display_count];
    *display = (struct display_config){.kind = kind};
    if (options[0] == '=' && !kind->first_key)
        return error_set(err, EINVAL, "%s: %s takes no '%s'", origin, kind->name, options);
    ret = option_list_parse(&display->options, origin, options[0] ? options + 1 : "",
                            options[0] == '=' ? kind->first_key : NULL, err);
    if (ret)
        option_list_free(&display->options);
    else
        config->display_count++;
    return ret;
}

int vm_config_set_display(struct vm_config *config, const char *origin, const char *value,
                          struct error *err)
{
    size_t length = strcspn(value, "=,");
    const struct display_viewer_kind *kind;
    char name[32];

    snprintf(name, sizeof(name), "%.*s", (int)length, value);
    if (strcmp(name, NOBODY) == 0)
        return value[length]
                   ? error_set(err, EINVAL, "%s: " NOBODY " takes no '%s'", origin, value + length)
                   : 0;
    kind = find_kind(name, origin, err);
    return kind ? add_display(config, kind, origin, value + length, err) : -EINVAL;
}

int vm_config_set_screenshot(struct vm_config *config, const char *origin, const char *value,
                             struct error *err)
{
    const struct display_viewer_kind *kind = find_kind(SCREENSHOT, origin, err);
    char *options;
    int ret;

    if (!kind)
        return -EINVAL;
    if (asprintf(&options, "=%s", value) < 0)
        return error_set(err, ENOMEM, "no memory for options");
    ret = add_display(config, kind, origin, options, err);
    free(options);
    return ret;
}

void vm_config_free_displays(struct vm_config *config)
{
    for (size_t i = 0; i < config->display_count; i++)
        option_list_free(&config->displays[i].options);
    free(config->displays);
}

static bool has_device(const struct vm_config *config, const char *type)
{
    for (size_t i = 0; i < config->device_count; i++)
        if (strcmp(config->devices[i].type, type) == 0)
            return true;
    return false;
}

int vm_config_complete_display(struct vm_config *config, struct error *err)
{
    const struct display_config *first = config->displays;
    bool people = false;
    char *origin;
    int ret = 0;

    for (size_t i = 0; i < config->display_count; i++)
        people = people || config->displays[i].kind->for_people;
    if (!config->display_count)
        return 0;
    origin = first->options.origin;
    if (!has_device(config, "gpu"))
        ret = vm_config_add_device(config, origin, "gpu", "", NULL, err);
    if (!ret && people && !has_device(config, "input")) {
        ret = vm_config_add_device(config, origin, "input", "keyboard", "kind", err);
        if (!ret)
            ret = vm_config_add_device(config, origin, "input", "tablet", "kind", err);
    }
    return ret;
}
