#include "vmm/arguments.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int arguments_add(char ***arguments, struct error *err, const char *fmt, ...)
{
    size_t count = 0;
    va_list values;
    char *text;
    char **grown;
    int ret;

    while (*arguments && (*arguments)[count])
        count++;
    va_start(values, fmt);
    ret = vasprintf(&text, fmt, values);
    va_end(values);
    if (ret < 0)
        return error_set(err, ENOMEM, "no memory for a program's arguments");
    grown = realloc(*arguments, (count + 2) * sizeof(*grown));
    if (!grown) {
        free(text);
        return error_set(err, ENOMEM, "no memory for a program's arguments");
    }
    grown[count] = text;
    grown[count + 1] = NULL;
    *arguments = grown;
    return 0;
}

void arguments_free(char **arguments)
{
    for (size_t i = 0; arguments && arguments[i]; i++)
        free(arguments[i]);
    free(arguments);
}
