#include "vmm/machine_display.h"

#include "vmm/device_setup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NAME_DEFAULT "vireo"

static bool wanted(const struct vm_config *config)
{
    bool wants = config->display_count;

    for (size_t i = 0; i < config->device_count && !wants; i++) {
        const struct virtio_model *model = device_model_find(config->devices[i].type);

        wants = model && model->display;
    }
    return wants;
}

static int take_viewer(struct machine_display *d, struct display_config *config, struct error *err)
{
    struct display_viewer_setup **setup = &d->viewers[d->viewer_count];
    int ret = display_viewer_take(config->kind, &config->options, setup, err);

    if (ret)
        return ret;
    d->viewer_count++;
    ret = display_viewer_load(*setup, err);
    if (ret)
        error_prefix(err, "%s", config->options.origin);
    return ret;
}

static int take_viewers(struct machine_display *d, struct vm_config *config, struct error *err)
{
    int ret = 0;

    d->viewers = calloc(config->display_count + 1, sizeof(*d->viewers));
    if (!d->viewers)
        return error_set(err, ENOMEM, "no memory for displays");
    for (size_t i = 0; i < config->display_count && !ret; i++)
        ret = take_viewer(d, &config->displays[i], err);
    return ret;
}

int machine_display_create(struct machine_display *d, struct vm_config *config,
                           struct iothreads *threads, void (*closed)(void *opaque), void *opaque,
                           struct error *err)
{
    int ret;

    if (!wanted(config))
        return 0;
    ret = take_viewers(d, config, err);
    if (!ret)
        ret = iothreads_get(threads, IOTHREAD_DISPLAY, &d->loop, err);
    if (!ret)
        ret = display_create(d->loop, config->name ? config->name : NAME_DEFAULT, &d->display, err);
    if (!ret)
        display_on_close(d->display, closed, opaque);
    return ret;
}

struct open_call {
    struct machine_display *d;
    const struct vm_config *config;
    struct error *err;
    int ret;
};

static void open_on_loop(void *arg)
{
    struct open_call *call = arg;
    struct machine_display *d = call->d;

    for (size_t i = 0; i < d->viewer_count && !call->ret; i++) {
        call->ret = display_viewer_open(d->viewers[i], d->display, call->err);
        if (call->ret)
            error_prefix(call->err, "%s", call->config->displays[i].options.origin);
    }
}

int machine_display_open(struct machine_display *d, const struct vm_config *config,
                         struct error *err)
{
    struct open_call call = {d, config, err, 0};

    if (d->display)
        loop_call(d->loop, open_on_loop, &call);
    return call.ret;
}

static void save_on_loop(void *arg)
{
    display_save(arg);
}

void machine_display_save(struct machine_display *d)
{
    if (d->display)
        loop_call(d->loop, save_on_loop, d->display);
}

struct end_call {
    struct display *display;
    bool save, timing;
};

static void end_on_loop(void *arg)
{
    const struct end_call *call = arg;

    if (call->save)
        display_save(call->display);
    if (call->timing)
        display_print_timing(call->display, stderr);
    display_end(call->display);
}

void machine_display_end(struct machine_display *d, bool save, bool timing)
{
    struct end_call call = {d->display, save, timing};

    if (d->display)
        loop_call(d->loop, end_on_loop, &call);
}

void machine_display_destroy(struct machine_display *d)
{
    display_destroy(d->display);
    for (size_t i = 0; i < d->viewer_count; i++)
        display_viewer_release(d->viewers[i]);
    free(d->viewers);
}
