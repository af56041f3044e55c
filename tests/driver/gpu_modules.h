/*
 * In the place of base/module.c, for programs that have the GPU model's code in themselves, and
 * tests/driver/fake_renderer.h as its renderer. Included once in a program.
 */
#ifndef TESTS_DRIVER_GPU_MODULES_H
#define TESTS_DRIVER_GPU_MODULES_H

#include "base/module.h"
#include "tests/driver/fake_renderer.h"
#include "virtio/builtin.h"

#include <errno.h>
#include <string.h>

extern const struct virtio_model vireo_module_gpu;

int module_load(struct module *module, const char *name, struct error *err)
{
    if (strcmp(name, "gpu") == 0)
        module->table = &vireo_module_gpu;
    else if (strcmp(name, "virgl") == 0)
        module->table = &fake_renderer_module;
    else
        return error_set(err, ENOENT, "no module '%s'", name);
    return 0;
}

void module_unload(struct module *module)
{
    module->table = NULL;
}

#endif
