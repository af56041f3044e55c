/*
 * The cache of unpacked kernel images (guest/image_cache.h).
 */
#include "tests/unit/kernel_fixture.h"

static size_t cache_count(const char *suffix, char last[PATH_MAX])
{
    DIR *dir = opendir(cache_path);
    const struct dirent *entry;
    size_t count = 0;

    assert_non_null(dir);
    while ((entry = readdir(dir))) {
        size_t length = strlen(entry->d_name), tail = strlen(suffix);

        if (length < tail || strcmp(entry->d_name + length - tail, suffix) != 0)
            continue;
        count++;
        if (last)
            snprintf(last, PATH_MAX, "%s/%s", cache_path, entry->d_name);
    }
    closedir(dir);
    return count;
}

/* Open with the cache; is it described as `text`, and loaded rightly? */
static void assert_opens(const char *text)
{
    struct kernel *kernel = open_kernel(true, cache_path);
    struct kernel_placement p = load(kernel);

    if (!describes(kernel, text))
        fail_msg("'%s', expected '%s'", kernel_describe(kernel), text);
    assert_loaded(&p, TABLE_THREE_LISTS);
    assert_int_equal(setup_flags(kernel), SETUP_LOADED_HIGH | SETUP_KASLR_FLAG);
    kernel_close(kernel);
}

#define COLD "bzImage 6.1.0-test, lz4 payload unpacked, KASLR on"
#define WARM "bzImage 6.1.0-test, lz4 payload unpacked (cached), KASLR on"

static int warm_cache(void **state)
{
    (void)state;
    remove_cache();
    put_bzimage(TABLE_THREE_LISTS, pack_lz4);
    settle();
    assert_opens(COLD);
    assert_opens(WARM);
    assert_int_equal(cache_count(".new", NULL), 0);
    return 0;
}

static void cache_is_private(void **state)
{
    char path[PATH_MAX];
    struct stat st;

    (void)state;
    assert_int_equal(cache_count(".image", path), 1);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(stat(cache_path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
}

static void warm_boot_reads_no_image_byte(void **state)
{
    struct timespec times[2];
    struct stat st;

    (void)state;
    /* Proof: a kernel is found though the file may no longer be read at all: its bytes differ,
     * while its identity is what the link says. The link is therefore renamed to the identity of
     * another file. */
    char link[PATH_MAX], name[PATH_MAX];

    assert_int_equal(cache_count(".link", link), 1);
    put_file(image_path, (const uint8_t *)"nonsense", 8);
    assert_int_equal(stat(image_path, &st), 0);
    times[0] = st.st_mtim;
    times[1] = st.st_ctim;
    snprintf(name, sizeof(name), "%s/%jx-%jx-8-%jx.%lx-%jx.%lx.link", cache_path,
             (uintmax_t)st.st_dev, (uintmax_t)st.st_ino, (uintmax_t)times[0].tv_sec,
             times[0].tv_nsec, (uintmax_t)times[1].tv_sec, times[1].tv_nsec);
    assert_int_equal(rename(link, name), 0);
    assert_opens(WARM);
}

static void another_name_for_the_same_content(void **state)
{
    char path[PATH_MAX];
    struct stat before, after;

    (void)state;
    cache_count(".image", path);
    assert_int_equal(stat(path, &before), 0);
    put_bzimage(TABLE_THREE_LISTS, pack_lz4);
    settle();
    assert_opens(COLD);
    assert_opens(WARM);
    assert_int_equal(cache_count(".image", path), 1);
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* On a machine that takes long to open it, it is no longer just changed. */
static void a_file_just_changed_is_not_remembered(void **state)
{
    int64_t begin = now_ms();

    (void)state;
    put_bzimage(TABLE_THREE_LISTS, pack_lz4);
    assert_opens(COLD);
    if (now_ms() - begin > 40)
        skip();
    assert_opens(COLD);
    if (now_ms() - begin > 40)
        skip();
    assert_int_equal(cache_count(".link", NULL), 1); /* the one from before */
}

static void damaged_entries_are_replaced(void **state)
{
    char path[PATH_MAX];
    struct stat st;

    (void)state;
    cache_count(".image", path);
    assert_int_equal(stat(path, &st), 0);
    /* Every part of the header, and of the relocation lists behind it. */
    for (off_t offset = 0; offset < 4096 + 36; offset += offset < 4000 ? 61 : 1) {
        int fd;
        uint8_t byte = 0;

        if (offset >= (off_t)sizeof(struct flat_header) && offset < 4096)
            continue;
        fd = open(path, O_RDWR);
        assert_int_equal(pread(fd, &byte, 1, offset), 1);
        byte ^= 0x10;
        assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
        close(fd);
        assert_opens(COLD);
        assert_opens(WARM);
    }
    assert_int_equal(cache_count(".image", NULL), 1);
}

static void truncated_entries_are_replaced(void **state)
{
    char path[PATH_MAX];
    struct stat st;

    (void)state;
    cache_count(".image", path);
    assert_int_equal(stat(path, &st), 0);
    for (off_t size = 0; size < st.st_size; size += 4001) {
        assert_int_equal(truncate(path, size), 0);
        assert_opens(COLD);
        assert_opens(WARM);
    }
    assert_int_equal(truncate(path, st.st_size + 4096), 0);
    assert_opens(COLD);
    assert_opens(WARM);
}

static void untrusted_entries_are_not_used(void **state)
{
    char path[PATH_MAX];

    (void)state;
    cache_count(".image", path);
    assert_int_equal(chmod(path, 0666), 0);
    assert_opens(COLD); /* made anew */
    assert_opens(WARM);
    assert_int_equal(chmod(cache_path, 0777), 0);
    assert_opens(COLD);
    assert_int_equal(chmod(cache_path, 0700), 0);
    if (geteuid() == 0) {
        assert_int_equal(chown(path, 12345, 12345), 0);
        assert_opens(COLD);
        assert_opens(WARM);
        assert_int_equal(chown(cache_path, 12345, 12345), 0);
        assert_opens(COLD);
        assert_int_equal(chown(cache_path, 0, 0), 0);
    }
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_opens(COLD);
    assert_opens(WARM);
}

static void caches_that_cannot_be_used(void **state)
{
    char saved[sizeof(cache_path)], file[96];

    (void)state;
    strcpy(saved, cache_path);
    snprintf(file, sizeof(file), "%s/under-a-file", image_path);
    snprintf(cache_path, sizeof(cache_path), "%.63s", file);
    assert_opens(COLD);
    strcpy(cache_path, "/proc/vireo");
    assert_opens(COLD);
    strcpy(cache_path, saved);
}

/* As another user, who may look but not write. Root could write everywhere. */
static void a_read_only_cache(void **state)
{
    pid_t child;
    int status;

    (void)state;
    put_bzimage(TABLE_THREE_LISTS, pack_lz4);
    settle();
    assert_int_equal(chmod(cache_path, 0500), 0);
    child = fork();
    if (child == 0) {
        /* The cache has to be theirs to be trusted. */
        if (geteuid() == 0 &&
            (chown(cache_path, 12345, 12345) < 0 || chown(image_path, 12345, 12345) < 0 ||
             chmod(directory, 0711) < 0 || seteuid(12345) < 0))
            _exit(1);
        assert_opens(COLD);
        assert_opens(COLD);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(cache_count(".image", NULL), 1);
    if (geteuid() == 0)
        assert_int_equal(chown(cache_path, 0, 0), 0);
    assert_int_equal(chmod(cache_path, 0700), 0);
}

static void the_cache_is_bounded(void **state)
{
    struct buffer vmlinux = make_vmlinux(TABLE_THREE_LISTS, false);
    struct buffer image = make_bzimage(vmlinux, pack_lz4);
    char path[PATH_MAX];

    (void)state;
    settle(); /* between the times of the first and those below */
    for (uint8_t n = 0; n < 3 * IMAGE_CACHE_IMAGES; n++) {
        image.data[0] = n; /* different content, same kernel */
        put_file(image_path, image.data, image.size);
        settle();
        assert_opens(COLD);
        assert_opens(WARM);
    }
    assert_int_equal(cache_count(".image", path), IMAGE_CACHE_IMAGES);
    assert_int_equal(cache_count(".link", NULL), IMAGE_CACHE_IMAGES);
    assert_int_equal(cache_count(".new", NULL), 0);
    assert_opens(WARM); /* the newest is there */
    free(vmlinux.data);
    free(image.data);
}

static void leftovers_are_removed(void **state)
{
    struct timespec old[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    char stale[96], fresh[96];

    (void)state;
    snprintf(stale, sizeof(stale), "%s/0123.new", cache_path);
    snprintf(fresh, sizeof(fresh), "%s/4567.new", cache_path);
    put_file(stale, (const uint8_t *)"x", 1);
    put_file(fresh, (const uint8_t *)"x", 1);
    assert_int_equal(utimensat(AT_FDCWD, stale, old, 0), 0);
    put_bzimage(TABLE_THREE_LISTS, pack_gzip);
    kernel_close(open_kernel(true, cache_path));
    assert_int_equal(access(stale, F_OK), -1);
    assert_int_equal(access(fresh, F_OK), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(cache_is_private, warm_cache),
        cmocka_unit_test_setup(warm_boot_reads_no_image_byte, warm_cache),
        cmocka_unit_test_setup(another_name_for_the_same_content, warm_cache),
        cmocka_unit_test_setup(a_file_just_changed_is_not_remembered, warm_cache),
        cmocka_unit_test_setup(damaged_entries_are_replaced, warm_cache),
        cmocka_unit_test_setup(truncated_entries_are_replaced, warm_cache),
        cmocka_unit_test_setup(untrusted_entries_are_not_used, warm_cache),
        cmocka_unit_test_setup(caches_that_cannot_be_used, warm_cache),
        cmocka_unit_test_setup(a_read_only_cache, warm_cache),
        cmocka_unit_test_setup(the_cache_is_bounded, warm_cache),
        cmocka_unit_test_setup(leftovers_are_removed, warm_cache),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
