/*
 * Modules: shared objects for what most machines do not need, loaded when first asked for.
 *
 * The core executable links only libc; a decompressor, a JSON parser, later a display, live in
 * `vireo-NAME.so`. A module exports one constant table, `vireo_module_NAME`, whose type the header
 * of its interface declares. It is looked for beside the executable (build tree: build/), then in
 * PREFIX/lib/vireo.
 */
#ifndef BASE_MODULE_H
#define BASE_MODULE_H

#include "base/error.h"

struct module {
    void *handle;
    const void *table; /* the exported vireo_module_NAME */
};

/* Load `vireo-NAME.so`. -ENOENT when it is not installed (the error says where it was sought). */
int module_load(struct module *module, const char *name, struct error *err);

/* Unmap it again: nothing of the module may be used afterwards. */
void module_unload(struct module *module);

/* Look in `directory` before anywhere else; for programs that are not installed beside the modules
 * (tests). Borrowed; NULL: no such directory. Call it before threads exist. */
void module_search_first(const char *directory);

#endif
