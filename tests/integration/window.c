/*
 * In a guest: look at the memory behind a PCI function's BAR, through its file in sysfs.
 *
 *     window FILE read OFFSET           prints the word there
 *     window FILE write OFFSET WORD
 *     window FILE check OFFSET LENGTH   says whether each word there is its number
 *
 * Numbers as in C; words are of 32 bits.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static void check(const volatile uint32_t *words, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        if (words[i] != i) {
            printf("word %llu is %08x\n", (unsigned long long)i, words[i]);
            return;
        }
    printf("same\n");
}

int main(int argc, char **argv)
{
    uint64_t offset = argc > 3 ? strtoull(argv[3], NULL, 0) : 0, within = offset % 4096;
    uint64_t value = argc > 4 ? strtoull(argv[4], NULL, 0) : 0;
    uint64_t length = argc > 4 && strcmp(argv[2], "check") == 0 ? value : 4;
    int fd = argc > 3 ? open(argv[1], O_RDWR) : -1;
    void *page = mmap(NULL, within + length, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                      (off_t)(offset - within));
    volatile uint32_t *words;

    if (page == MAP_FAILED) {
        perror("window");
        return 1;
    }
    words = (volatile uint32_t *)((char *)page + within);
    if (strcmp(argv[2], "check") == 0)
        check(words, length / 4);
    else if (strcmp(argv[2], "write") == 0)
        *words = (uint32_t)value;
    else
        printf("%08x\n", *words);
    return 0;
}
