/*
 * Shared libraries' pages that only starting up needed.
 *
 * The kernel maps 16 pages around each one that is touched (fault-around), so that by the time the
 * guest starts most of the C library and the dynamic linker count as this process's memory. A
 * machine that runs uses few of their functions.
 */
#ifndef VMM_LIBRARY_PAGES_H
#define VMM_LIBRARY_PAGES_H

/*
 * Unmap the read-only pages of all shared libraries; what is used again comes back from the page
 * cache, at a minor fault for 64 KiB, as it is in the file: a debugger's breakpoints in libraries
 * are lost. From any thread, at any time.
 */
void library_pages_release(void);

#endif
