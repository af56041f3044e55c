#include "devices/display/viewer.h"

#include "base/module.h"

#include <errno.h>
#include <stdlib.h>

struct display_viewer_setup {
    const struct display_viewer_kind *kind;
    struct module module;
    void *options;
};

/* All keys, for suggestions. */
static int finish(const struct display_viewer_kind *kind, const struct option_list *options,
                  struct error *err)
{
    const char **keys = calloc(kind->option_count + 1, sizeof(*keys));
    int ret;

    for (size_t i = 0; keys && i < kind->option_count; i++)
        keys[i] = kind->options[i].key;
    ret = option_list_finish(options, keys, err);
    free(keys);
    return ret;
}

int display_viewer_take(const struct display_viewer_kind *kind, struct option_list *options,
                        struct display_viewer_setup **out, struct error *err)
{
    struct display_viewer_setup *setup = calloc(1, sizeof(*setup));
    void *taken = calloc(1, kind->options_size + 1);
    int ret = setup && taken ? 0 : error_set(err, ENOMEM, "no memory for a display");

    if (!ret)
        ret = option_apply(kind->options, kind->option_count, options, taken, err);
    if (ret) {
        free(setup);
        free(taken);
        return ret;
    }
    *setup = (struct display_viewer_setup){.kind = kind, .options = taken};
    ret = finish(kind, options, err);
    if (ret)
        display_viewer_release(setup);
    else
        *out = setup;
    return ret;
}

int display_viewer_load(struct display_viewer_setup *setup, struct error *err)
{
    const struct display_viewer_module *viewer;
    int ret = module_load(&setup->module, setup->kind->name, err);

    if (ret)
        return ret;
    viewer = setup->module.table;
    return viewer->check ? viewer->check(setup->options, err) : 0;
}

int display_viewer_open(struct display_viewer_setup *setup, struct display *display,
                        struct error *err)
{
    const struct display_viewer_module *viewer = setup->module.table;

    return viewer->open(display, setup->options, err);
}

void display_viewer_release(struct display_viewer_setup *setup)
{
    if (!setup)
        return;
    module_unload(&setup->module);
    option_release(setup->kind->options, setup->kind->option_count, setup->options);
    free(setup->options);
    free(setup);
}
