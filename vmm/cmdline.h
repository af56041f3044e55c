/*
 * The kernel command line: words tuned for a microVM, each with its reason, and the user's own.
 */
#ifndef VMM_CMDLINE_H
#define VMM_CMDLINE_H

#include "base/error.h"
#include "vmm/config.h"

#include <stdbool.h>
#include <stddef.h>

struct cmdline_word {
    const char *word;
    const char *why;
};
extern const struct cmdline_word cmdline_words[];
extern const size_t cmdline_word_count;

#define CMDLINE_SERIAL_WORD  "console=ttyS0"
#define CMDLINE_CONSOLE_WORD "console=hvc0"

/* Makes a panic distinguishable from a reboot; see lifecycle.c. */
#define CMDLINE_PANIC_WORD "reboot=panic_warm"

bool cmdline_text_has_word(const char *text, const char *word);

/* Did the user give this word, by --append, --cmdline or after "--"? */
bool cmdline_has_word(const struct vm_config *config, const char *word);

/*
 * The whole command line for this configuration, owned by the caller; at most `max` bytes without
 * the NUL. -E2BIG when it is longer than the kernel takes.
 */
int cmdline_build(const struct vm_config *config, size_t max, char **out, struct error *err);

#endif
