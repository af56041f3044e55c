/*
 * For tests that run Mesa: the thread sanitizer does not see how its own threads, llvmpipe's, wait
 * for one another. All its drivers are links to one file, and it depends on the machine by which of
 * their names the sanitizer knows it.
 */
#ifndef TESTS_UNIT_MESA_H
#define TESTS_UNIT_MESA_H

#include "base/sanitizers.h"

#if SANITIZE_THREAD
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:_dri.so\n";
}
#endif

#endif
