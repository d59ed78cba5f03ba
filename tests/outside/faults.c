/* A disk that fails on demand, for LD_PRELOAD. The file named by FAULTS is mapped: its first byte says how the disk
 * fails, the text behind it which files do: the end of their name, without -wal or -journal. 0: nothing fails.
 *   f  fsync, fdatasync: EIO (the data may or may not have arrived)
 *   i  write: EIO
 *   r  write, truncate, open for writing: EROFS
 *   s  write: ENOSPC
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static volatile const char *control;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAULTS");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) {
        fprintf(stderr, "faults.so: FAULTS names no file\n");
        abort();
    }
    control = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
}

static int is_meant(const char *path) {
    char name[256];
    const char *last = strrchr(path, '/');
    snprintf(name, sizeof name, "%s", last ? last + 1 : path);
    char *suffix = strrchr(name, '-');
    if (suffix && strcmp(suffix, "-shm") == 0) return 0; /* memory, not disk */
    if (suffix) *suffix = 0;
    size_t length = strlen(name), end = strlen((const char *)control + 1);
    return length >= end && end > 0 && strcmp(name + length - end, (const char *)control + 1) == 0;
}

static char mode(int fd) {
    char mode = control ? control[0] : 0, link[64], path[4096];
    if (!mode) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_meant(path) ? mode : 0;
}

static int refused(char mode) {
    switch (mode) {
    case 'i': errno = EIO; return 1;
    case 'r': errno = EROFS; return 1;
    case 's': errno = ENOSPC; return 1;
    default: return 0;
    }
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

int fsync(int fd) {
    REAL(fsync);
    if (mode(fd) == 'f') { errno = EIO; return -1; }
    return real(fd);
}

int fdatasync(int fd) {
    REAL(fdatasync);
    if (mode(fd) == 'f') { errno = EIO; return -1; }
    return real(fd);
}

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    return refused(mode(fd)) ? -1 : real(fd, data, size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    REAL(pwrite);
    return refused(mode(fd)) ? -1 : real(fd, data, size, at);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    REAL(pwrite64);
    return refused(mode(fd)) ? -1 : real(fd, data, size, at);
}

int ftruncate(int fd, off_t size) {
    REAL(ftruncate);
    if (mode(fd) == 'r') { errno = EROFS; return -1; }
    return real(fd, size);
}

int ftruncate64(int fd, off64_t size) {
    REAL(ftruncate64);
    if (mode(fd) == 'r') { errno = EROFS; return -1; }
    return real(fd, size);
}

static int may_not_open(const char *path, int flags) {
    if (!control || control[0] != 'r' || (flags & O_ACCMODE) == O_RDONLY || !is_meant(path)) return 0;
    errno = EROFS;
    return 1;
}

#define OPEN(name)                                                  \
    int name(const char *path, int flags, ...) {                    \
        REAL(name);                                                 \
        va_list rest;                                               \
        va_start(rest, flags);                                      \
        mode_t permissions = va_arg(rest, mode_t);                  \
        va_end(rest);                                               \
        return may_not_open(path, flags) ? -1 : real(path, flags, permissions); \
    }

OPEN(open)
OPEN(open64)
