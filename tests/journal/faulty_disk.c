/* A disk that fails: preloaded before libc, it lets the Nth call on the journal's files fail.
 * FAULT_CALL sync | write, FAULT_AT N (counted from 1), FAULT_ERRNO, FAULT_STAYS 1: all later ones too.
 * FAULT_SEEN: a file that is made when a call was failed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_long calls;

static int fails(int fd, const char *call) {
    const char *which = getenv("FAULT_CALL"), *at = getenv("FAULT_AT");
    if (!which || !at || strcmp(which, call) != 0) return 0;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    if (!strstr(path, "journal.sqlite3") || strstr(path, "-shm")) return 0;
    long this = atomic_fetch_add(&calls, 1) + 1, first = atol(at);
    if (this != first && !(this > first && getenv("FAULT_STAYS"))) return 0;
    const char *seen = getenv("FAULT_SEEN");
    if (seen) close(open(seen, O_CREAT | O_WRONLY, 0600));
    errno = atoi(getenv("FAULT_ERRNO"));
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int fsync(int fd) { return fails(fd, "sync") ? -1 : REAL(fsync)(fd); }
int fdatasync(int fd) { return fails(fd, "sync") ? -1 : REAL(fdatasync)(fd); }
ssize_t pwrite(int fd, const void *b, size_t n, off_t o) { return fails(fd, "write") ? -1 : REAL(pwrite)(fd, b, n, o); }
ssize_t pwrite64(int fd, const void *b, size_t n, off64_t o) { return fails(fd, "write") ? -1 : REAL(pwrite64)(fd, b, n, o); }
ssize_t write(int fd, const void *b, size_t n) { return fails(fd, "write") ? -1 : REAL(write)(fd, b, n); }
