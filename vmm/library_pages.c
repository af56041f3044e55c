#include "vmm/library_pages.h"

#include "base/bytes.h"

#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

/* The program itself, which has no name here, is left alone: its pages are few, and a debugger's
 * breakpoints in them must last. */
static int release(struct dl_phdr_info *info, size_t size, void *opaque)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

    (void)size;
    (void)opaque;
    if (!info->dlpi_name[0])
        return 0;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        uintptr_t start = (info->dlpi_addr + segment->p_vaddr) & ~(page - 1);
        uintptr_t end = align_up(info->dlpi_addr + segment->p_vaddr + segment->p_memsz, page);

        /* A writable segment's pages are private copies, also where they are read-only by now. */
        if (segment->p_type == PT_LOAD && !(segment->p_flags & PF_W))
            (void)madvise((void *)start, end - start, MADV_DONTNEED);
    }
    return 0;
}

void library_pages_release(void)
{
    dl_iterate_phdr(release, NULL);
}
