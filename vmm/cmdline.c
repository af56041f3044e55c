/* The kernel's command line: the words a machine has by default, and the user's. */
#include "vmm/cmdline.h"

#include "base/bytes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* What each word saves is measured by `make bench-boot`; the README has the figures. */
const struct cmdline_word cmdline_words[] = {
    {CMDLINE_SERIAL_WORD,
     "messages and /dev/console on the serial port, unless a --console replaces it"},
    {CMDLINE_CONSOLE_WORD, "only with --console: both are there, once its driver is up"},
    {"quiet", "only errors are printed while booting; every character costs an exit to the host"},
    {"cryptomgr.notests", "no self-tests of ciphers: more than half of a stock kernel's boot"},
    {"initcall_blacklist=ftrace_check_for_weak_functions",
     "no search for overridden functions, which only tracers list: a sixth of the boot"},
    {"panic=-1", "a panic ends the machine at once instead of hanging"},
    {CMDLINE_PANIC_WORD, "lets Vireo tell a panic from a reboot (exit status 13)"},
};
const size_t cmdline_word_count = ARRAY_SIZE(cmdline_words);

bool cmdline_text_has_word(const char *text, const char *word)
{
    size_t length = strlen(word);

    while (text && *text) {
        size_t here = strcspn(text, " \t\n");
        if (here == length && memcmp(text, word, length) == 0)
            return true;
        text += here;
        text += strspn(text, " \t\n");
    }
    return false;
}

bool cmdline_has_word(const struct vm_config *config, const char *word)
{
    return cmdline_text_has_word(config->append, word) ||
           cmdline_text_has_word(config->cmdline, word);
}

static void add_words(FILE *stream, const char *words)
{
    fprintf(stream, "%s%s", ftell(stream) > 0 && *words ? " " : "", words);
}

/* Not all consoles are there always; every character to a serial port nobody reads costs. */
static bool word_applies(const struct vm_config *config, const char *word)
{
    bool console = vm_config_has_console(config);

    if (strcmp(word, CMDLINE_CONSOLE_WORD) == 0)
        return console;
    if (strcmp(word, CMDLINE_SERIAL_WORD) == 0)
        return !console || strcmp(vm_config_serial(config), "null") != 0;
    return true;
}

int cmdline_build(const struct vm_config *config, size_t max, char **out, struct error *err)
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);

    if (!stream)
        return error_set(err, ENOMEM, "no memory for the command line");
    if (config->cmdline)
        add_words(stream, config->cmdline);
    else
        for (size_t i = 0; i < cmdline_word_count; i++)
            if (word_applies(config, cmdline_words[i].word))
                add_words(stream, cmdline_words[i].word);
    if (!config->kaslr && !config->cmdline) /* the kernel randomises more than its own place */
        add_words(stream, "nokaslr");
    if (config->append)
        add_words(stream, config->append);
    if (fclose(stream)) {
        free(text);
        return error_set(err, ENOMEM, "no memory for the command line");
    }
    if (size > max) {
        free(text);
        return error_set(
            err, E2BIG,
            "--append, --cmdline: the command line has %zu characters; the kernel takes %zu", size,
            max);
    }
    *out = text;
    return 0;
}
