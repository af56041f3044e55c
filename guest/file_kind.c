#include "guest/file_kind.h"

#include "base/bytes.h"

static const struct {
    uint16_t offset;
    uint8_t length;
    uint8_t magic[8];
    const char *kind;
} kinds[] = {
    {56, 4, {'A', 'R', 'M', 0x64}, "an arm64 kernel"},
    {56, 4, {'R', 'S', 'C', 0x05}, "a RISC-V kernel"},
    {4, 4, {'z', 'i', 'm', 'g'}, "an EFI zboot kernel"},
    {0, 2, {'M', 'Z'}, "an EFI or DOS program"},
    {0, 4, {0x27, 0x05, 0x19, 0x56}, "a U-Boot image"},
    {0, 4, {0xd0, 0x0d, 0xfe, 0xed}, "a device tree or FIT image"},
    {0, 2, {0x1f, 0x8b}, "gzip data (an initrd?)"},
    {0, 6, {0xfd, '7', 'z', 'X', 'Z', 0}, "xz data (an initrd?)"},
    {0, 4, {0x28, 0xb5, 0x2f, 0xfd}, "zstd data (an initrd?)"},
    {0, 4, {0x02, 0x21, 0x4c, 0x18}, "lz4 data (an initrd?)"},
    {0, 5, {'0', '7', '0', '7', '0'}, "a cpio archive (an initrd?)"},
    {0, 4, {'Q', 'F', 'I', 0xfb}, "a qcow2 disk image"},
    {0, 2, {'#', '!'}, "a script"},
    {510, 2, {0x55, 0xaa}, "a disk image"},
    {1080, 2, {0x53, 0xef}, "an ext4 file system"},
};

const char *file_kind(const uint8_t *start, size_t size)
{
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (size >= (size_t)kinds[i].offset + kinds[i].length &&
            memcmp(start + kinds[i].offset, kinds[i].magic, kinds[i].length) == 0)
            return kinds[i].kind;
    }
    return NULL;
}
