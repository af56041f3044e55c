/*
 * The module vireo-config: a JSON file turned into calls of a setter, one per option.
 *
 *   {"cpus": 2, "memory": {"size": "1G", "shared": true}, "disk": [{"path": "a.img"}]}
 *
 * calls set("cpus", "2"), set("memory", "size=1G,shared=on"), set("disk", "path=a.img"). Arrays
 * repeat an option; objects become its key=value form; true and false are on and off.
 */
#ifndef VMM_CONFIG_JSON_H
#define VMM_CONFIG_JSON_H

#include "base/error.h"

struct config_json_module {
    /* `set` returns 0 or a negative errno with err filled, which ends the reading. Errors of the
     * file itself name its line and column. */
    int (*load)(const char *path,
                int (*set)(void *opaque, const char *name, const char *value, struct error *err),
                void *opaque, struct error *err);
};

#endif
