#include "vmm/discovery.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/module.h"
#include "vmm/discovery/discovery_json.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SUBDIRECTORY    "/qemu/vhost-user"
#define DIRECTORIES_MAX 4

const char *discovery_type(const char *type)
{
    return strcmp(type, "blk") == 0 ? "block" : type;
}

/* --- files ------------------------------------------------------------------------------------ */

/* Names of files that are candidates, each once, with the first directory it was in. */
struct candidate {
    char *name;
    const char *directory;
};
struct candidates {
    struct candidate *items;
    size_t count;
};

static bool is_known(const struct candidates *candidates, const char *name)
{
    for (size_t i = 0; i < candidates->count; i++)
        if (strcmp(candidates->items[i].name, name) == 0)
            return true;
    return false;
}

static int candidate_add(struct candidates *candidates, const char *directory, const char *name,
                         struct error *err)
{
    struct candidate *grown =
        realloc(candidates->items, (candidates->count + 1) * sizeof(*candidates->items));

    if (!grown)
        return error_set(err, ENOMEM, "no memory for names of files");
    candidates->items = grown;
    grown[candidates->count] = (struct candidate){strdup(name), directory};
    if (!grown[candidates->count].name)
        return error_set(err, ENOMEM, "no memory for names of files");
    candidates->count++;
    return 0;
}

static int candidates_gather(struct candidates *candidates, const char *directory,
                             struct error *err)
{
    DIR *entries = opendir(directory);
    struct dirent *entry;
    int ret = 0;

    if (!entries) /* it need not be there */
        return 0;
    while (!ret && (entry = readdir(entries))) {
        size_t length = strlen(entry->d_name);

        if (length > 5 && strcmp(entry->d_name + length - 5, ".json") == 0 &&
            !is_known(candidates, entry->d_name))
            ret = candidate_add(candidates, directory, entry->d_name, err);
    }
    closedir(entries);
    return ret;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct candidate *)a)->name, ((const struct candidate *)b)->name);
}

static void entry_free(struct discovery_entry *entry)
{
    free(entry->description);
    free(entry->type);
    free(entry->binary);
}

/* The program, if the file is about this type; else NULL. */
static char *candidate_program(const struct discovery_module *json,
                               const struct candidate *candidate, const char *type)
{
    struct error err = ERROR_INIT;
    struct discovery_entry entry = {0};
    char path[PATH_MAX], *program = NULL;
    struct stat status;
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", candidate->directory, candidate->name);
    if (stat(path, &status) < 0 || !S_ISREG(status.st_mode) || status.st_size == 0)
        return NULL;
    file = fopen(path, "re");
    if (!file) {
        log_warn("discovery", "cannot open '%s': %s", path, strerror(errno));
        return NULL;
    }
    if (json->read(file, &entry, &err)) {
        log_warn("discovery", "'%s' is passed over: %s", path, err.text);
    } else {
        if (strcmp(entry.type, type) == 0) {
            program = entry.binary;
            entry.binary = NULL;
        }
        entry_free(&entry);
    }
    fclose(file);
    return program;
}

static int candidates_choose(struct candidates *candidates, const char *type, char **out,
                             struct error *err)
{
    struct module module;
    int ret = module_load(&module, "discovery", err);

    *out = NULL;
    if (ret)
        return ret;
    qsort(candidates->items, candidates->count, sizeof(*candidates->items), compare_names);
    for (size_t i = 0; i < candidates->count && !*out; i++)
        *out = candidate_program(module.table, &candidates->items[i], discovery_type(type));
    module_unload(&module);
    return 0;
}

int discovery_find_in(const char *const *directories, const char *type, char **out,
                      struct error *err)
{
    struct candidates candidates = {0};
    int ret = 0;

    *out = NULL;
    for (size_t i = 0; directories[i] && !ret; i++)
        ret = candidates_gather(&candidates, directories[i], err);
    if (!ret && candidates.count)
        ret = candidates_choose(&candidates, type, out, err);
    for (size_t i = 0; i < candidates.count; i++)
        free(candidates.items[i].name);
    free(candidates.items);
    if (ret)
        return ret;
    return *out ? 0
                : error_set(err, ENOENT,
                            "no program for %s devices is installed ('vireo help backends' says "
                            "where they are looked for)",
                            type);
}

/* --- directories ------------------------------------------------------------------------------ */

/* PREFIX/share/... of PREFIX/bin/vireo; empty when that is unknown. */
static void installed_directory(char out[PATH_MAX])
{
    ssize_t length = readlink("/proc/self/exe", out, PATH_MAX - 64);

    out[MAX(length, (ssize_t)0)] = '\0';
    for (int i = 0; i < 2; i++) {
        char *slash = strrchr(out, '/');

        if (slash)
            *slash = '\0';
    }
    if (out[0])
        strcat(out, "/share" SUBDIRECTORY);
}

int discovery_find(const char *type, char **out, struct error *err)
{
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    char user[PATH_MAX], installed[PATH_MAX];
    const char *directories[DIRECTORIES_MAX + 1];
    size_t count = 0;

    if (config && config[0] == '/')
        snprintf(user, sizeof(user), "%s" SUBDIRECTORY, config);
    else
        snprintf(user, sizeof(user), "%s/.config" SUBDIRECTORY, home ? home : "");
    directories[count++] = user;
    directories[count++] = "/etc" SUBDIRECTORY;
    directories[count++] = "/usr/share" SUBDIRECTORY;
    installed_directory(installed);
    directories[count++] = installed;
    directories[count] = NULL;
    return discovery_find_in(directories, type, out, err);
}
