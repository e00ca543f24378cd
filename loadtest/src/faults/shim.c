/* Stands before the C library (LD_PRELOAD) and makes the disk fail, the disk full, or the wall clock wrong, when told so.
 *
 * What is told lies in a shared page: the file named by EVENKEEL_SHIM_CONTROL, whose 64-bit words are listed below. A word
 * is read with one load, so a call that is let through costs next to nothing, and nothing here allocates.
 *
 * Only the database's files fail: the logs and sockets of the process under test are left alone. The monotonic clock is
 * left alone too, as it is when somebody sets the wall clock.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
    FSYNC_FAIL,     /* so many syncs fail with EIO */
    ENOSPC_WRITES,  /* not 0: what makes a file longer, or writes to one, fails with ENOSPC */
    CLOCK_OFFSET_S, /* seconds added to the wall clock */
    SYNCS_FAILED,   /* counted here */
    WRITES_REFUSED, /* counted here */
    WORDS
};

static int64_t nothing[WORDS];
static int64_t *words = nothing;
static int (*next_clock_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("EVENKEEL_SHIM_CONTROL");
    next_clock_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    if (!path)
        return;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    void *page = mmap(NULL, WORDS * sizeof(int64_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (page != MAP_FAILED)
        words = page;
}

static int64_t told(int word)
{
    return __atomic_load_n(&words[word], __ATOMIC_RELAXED);
}

static void count(int word)
{
    __atomic_fetch_add(&words[word], 1, __ATOMIC_RELAXED);
}

/* Whether the descriptor is a file of the database: evenkeel.db, its log, or the index of its log. */
static int is_database(int fd)
{
    struct stat file;
    char link[32] = "/proc/self/fd/", digits[12], path[4096];
    int at = (int)sizeof digits - 1;
    if (fd < 0 || fstat(fd, &file) != 0 || !S_ISREG(file.st_mode))
        return 0;
    digits[at] = 0;
    do
        digits[--at] = (char)('0' + fd % 10);
    while ((fd /= 10) > 0);
    strcat(link, digits + at);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return 0;
    path[length] = 0;
    const char *name = strrchr(path, '/');
    return name && strncmp(name + 1, "evenkeel.db", 11) == 0;
}

/* Whether the disk is to be full for this descriptor. */
static int refused(int fd)
{
    if (!told(ENOSPC_WRITES) || !is_database(fd))
        return 0;
    count(WRITES_REFUSED);
    errno = ENOSPC;
    return 1;
}

/* Whether this sync is to fail: each that was asked for fails once. */
static int sync_fails(int fd)
{
    int64_t left = told(FSYNC_FAIL);
    if (left <= 0 || !is_database(fd))
        return 0;
    while (left > 0)
        if (__atomic_compare_exchange_n(&words[FSYNC_FAIL], &left, left - 1, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
            count(SYNCS_FAILED);
            errno = EIO;
            return 1;
        }
    return 0;
}

int fsync(int fd)
{
    return sync_fails(fd) ? -1 : (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return sync_fails(fd) ? -1 : (int)syscall(SYS_fdatasync, fd);
}

ssize_t write(int fd, const void *bytes, size_t length)
{
    return refused(fd) ? -1 : syscall(SYS_write, fd, bytes, length);
}

ssize_t writev(int fd, const struct iovec *parts, int count_of_parts)
{
    return refused(fd) ? -1 : syscall(SYS_writev, fd, parts, count_of_parts);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at)
{
    return refused(fd) ? -1 : syscall(SYS_pwrite64, fd, bytes, length, at);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at)
{
    return pwrite64(fd, bytes, length, at);
}

int ftruncate64(int fd, off64_t length)
{
    struct stat file;
    /* To make a file shorter takes no room. */
    int longer = fstat(fd, &file) == 0 && length > file.st_size;
    return longer && refused(fd) ? -1 : (int)syscall(SYS_ftruncate, fd, length);
}

int ftruncate(int fd, off_t length)
{
    return ftruncate64(fd, length);
}

int fallocate64(int fd, int mode, off64_t at, off64_t length)
{
    return refused(fd) ? -1 : (int)syscall(SYS_fallocate, fd, mode, at, length);
}

int fallocate(int fd, int mode, off_t at, off_t length)
{
    return fallocate64(fd, mode, at, length);
}

int posix_fallocate64(int fd, off64_t at, off64_t length)
{
    return fallocate64(fd, 0, at, length) == 0 ? 0 : errno;
}

int posix_fallocate(int fd, off_t at, off_t length)
{
    return posix_fallocate64(fd, at, length);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int failed = next_clock_gettime ? next_clock_gettime(clock, now) : (int)syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += told(CLOCK_OFFSET_S);
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec at;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &at) != 0)
        return -1;
    now->tv_sec = at.tv_sec;
    now->tv_usec = at.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now)
{
    struct timespec at;
    if (clock_gettime(CLOCK_REALTIME, &at) != 0)
        return -1;
    if (now)
        *now = at.tv_sec;
    return at.tv_sec;
}
