/*
 * Writing the tables to files, for people who want to read them with iasl.
 */
#include "firmware/acpi.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

static int dump_file(const char *path, const uint8_t *data, size_t size, struct error *err)
{
    FILE *file = fopen(path, "wbe");
    if (!file)
        return error_errno(err, errno, "creating %s", path);
    errno = 0;
    size_t written = fwrite(data, 1, size, file);
    int code = written == size ? 0 : errno;
    if (fclose(file) && !code)
        code = errno;
    if (written != size || code)
        return error_errno(err, code ? code : EIO, "writing %s", path);
    return 0;
}

int acpi_tables_dump(const struct acpi_tables *tables, const char *dir, struct error *err)
{
    if (mkdir(dir, 0777) && errno != EEXIST)
        return error_errno(err, errno, "creating directory %s", dir);

    for (size_t i = 0; i < tables->count; i++) {
        const struct acpi_table *table = &tables->tables[i];
        char path[4096];
        int length = snprintf(path, sizeof(path), "%s/%s.aml", dir, table->name);
        if (length < 0 || (size_t)length >= sizeof(path))
            return error_errno(err, ENAMETOOLONG, "dumping ACPI tables to %s", dir);
        int ret = dump_file(path, tables->data + table->offset, table->length, err);
        if (ret)
            return ret;
    }
    return 0;
}
