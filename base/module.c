#include "base/module.h"

#include "base/sanitizers.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The leak checker names functions by the mappings that are left at exit, so under it modules stay.
 */
#define KEEP_MODULES SANITIZE_ADDRESS

static const char *first_directory;

void module_search_first(const char *directory)
{
    first_directory = directory;
}

static int executable_directory(char out[PATH_MAX], struct error *err)
{
    ssize_t length = readlink("/proc/self/exe", out, PATH_MAX - 1);
    char *slash;

    if (length < 0)
        return error_errno(err, errno,
                           "cannot find the directory of this program (/proc/self/exe)");
    out[length] = '\0';
    slash = strrchr(out, '/');
    if (!slash)
        return error_set(err, ENOENT, "cannot find the directory of this program: '%s'", out);
    *slash = '\0';
    return 0;
}

/* -ENOENT when there is no such file; every other failure is about a file that is there. */
static int module_open(struct module *module, const char *path, const char *name, struct error *err)
{
    char symbol[64];

    if (access(path, F_OK) < 0)
        return -ENOENT;
    module->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!module->handle)
        return error_set(err, ELIBACC, "cannot load module: %s", dlerror());
    snprintf(symbol, sizeof(symbol), "vireo_module_%s", name);
    module->table = dlsym(module->handle, symbol);
    if (!module->table) {
        module_unload(module);
        return error_set(err, ELIBBAD, "module '%s' has no table '%s'", path, symbol);
    }
    return 0;
}

int module_load(struct module *module, const char *name, struct error *err)
{
    static const char *const places[] = {"", "/../lib/vireo"};
    char directory[PATH_MAX], path[PATH_MAX + 96];
    int ret;

    *module = (struct module){0};
    if (first_directory) {
        snprintf(path, sizeof(path), "%s/vireo-%s.so", first_directory, name);
        ret = module_open(module, path, name, err);
        if (ret != -ENOENT)
            return ret;
    }
    ret = executable_directory(directory, err);
    if (ret < 0)
        return ret;
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        snprintf(path, sizeof(path), "%s%s/vireo-%s.so", directory, places[i], name);
        ret = module_open(module, path, name, err);
        if (ret != -ENOENT)
            return ret;
    }
    return error_set(err, ENOENT,
                     "module vireo-%s.so is not installed (sought in %s and %s/../lib/vireo)", name,
                     directory, directory);
}

void module_unload(struct module *module)
{
    if (module->handle && !KEEP_MODULES)
        dlclose(module->handle);
    *module = (struct module){0};
}
