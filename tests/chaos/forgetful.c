/* A file layer that forgets what was not synced, for LD_PRELOAD.
 *
 * Writes to files below FORGETFUL_DIR go through as usual, and are also kept in memory. Only when a file is synced are its
 * writes carried out on its twin in FORGETFUL_TWIN. A process that dies therefore leaves in FORGETFUL_TWIN what a machine
 * that lost its power would find on its disk: the last synced state of each file, and nothing else. kill -9 alone proves
 * nothing about this, since the page cache survives it.
 *
 * While FORGETFUL_DIR/broken exists the disk is broken: a sync fails once for each file and drops what it was to write, as
 * the kernel may, so that a later one succeeds without it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct change { struct change *next; off_t at; size_t length; int truncates; char bytes[]; };
struct file { dev_t device; ino_t inode; int failed; char twin[PATH_MAX]; struct change *first, **last; struct file *next; };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct file *files;

#define REAL(name, type) static __typeof__(type) *real; if (!real) real = (__typeof__(type) *)dlsym(RTLD_NEXT, name)

static ssize_t real_pwrite(int fd, const void *bytes, size_t length, off_t at) {
    REAL("pwrite64", ssize_t(int, const void *, size_t, off_t));
    return real(fd, bytes, length, at);
}

static int ends_with(const char *text, const char *end) {
    size_t length = strlen(text), wanted = strlen(end);
    return length >= wanted && !strcmp(text + length - wanted, end);
}

/* The kept file behind a descriptor, or none when it is not ours. Called with the lock held. */
static struct file *kept(int fd) {
    const char *folder = getenv("FORGETFUL_DIR"), *twins = getenv("FORGETFUL_TWIN");
    struct stat status;
    char link[64], path[PATH_MAX];
    if (!folder || !twins || fstat(fd, &status) || !S_ISREG(status.st_mode)) return NULL;
    for (struct file *file = files; file; file = file->next)
        if (file->device == status.st_dev && file->inode == status.st_ino) return file;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return NULL;
    path[length] = 0;
    if (strncmp(path, folder, strlen(folder)) || !(ends_with(path, ".db") || ends_with(path, ".db-wal"))) return NULL;
    struct file *file = calloc(1, sizeof *file);
    if (!file) abort();
    file->device = status.st_dev;
    file->inode = status.st_ino;
    snprintf(file->twin, sizeof file->twin, "%s%s", twins, strrchr(path, '/'));
    file->last = &file->first;
    file->next = files;
    files = file;
    return file;
}

static void keep(int fd, const void *bytes, size_t length, off_t at, int truncates) {
    pthread_mutex_lock(&lock);
    struct file *file = kept(fd);
    if (file) {
        struct change *change = malloc(sizeof *change + length);
        if (!change) abort();
        change->next = NULL, change->at = at, change->length = length, change->truncates = truncates;
        if (length) memcpy(change->bytes, bytes, length);
        *file->last = change;
        file->last = &change->next;
    }
    pthread_mutex_unlock(&lock);
}

/* Whether the disk has broken under this sync. */
static int fails(int fd) {
    char broken[PATH_MAX];
    const char *folder = getenv("FORGETFUL_DIR");
    snprintf(broken, sizeof broken, "%s/broken", folder ? folder : "");
    if (access(broken, F_OK)) return 0;
    pthread_mutex_lock(&lock);
    struct file *file = kept(fd);
    int now = file && !file->failed;
    if (now) {
        file->failed = 1;
        while (file->first) {
            struct change *change = file->first;
            file->first = change->next;
            free(change);
        }
        file->last = &file->first;
        errno = EIO;
    }
    pthread_mutex_unlock(&lock);
    return now;
}

static void synced(int fd) {
    pthread_mutex_lock(&lock);
    struct file *file = kept(fd);
    if (file && file->first) {
        int twin = open(file->twin, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        if (twin < 0) abort();
        while (file->first) {
            struct change *change = file->first;
            if (change->truncates ? syscall(SYS_ftruncate, twin, change->at) != 0
                                  : real_pwrite(twin, change->bytes, change->length, change->at) != (ssize_t)change->length) abort();
            file->first = change->next;
            free(change);
        }
        file->last = &file->first;
        close(twin);
    }
    pthread_mutex_unlock(&lock);
}

ssize_t write(int fd, const void *bytes, size_t length) {
    REAL("write", ssize_t(int, const void *, size_t));
    int reason = errno;
    off_t at = lseek(fd, 0, SEEK_CUR);
    errno = reason;
    ssize_t written = real(fd, bytes, length);
    if (written > 0 && at >= 0) keep(fd, bytes, (size_t)written, at, 0);
    return written;
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t at) {
    ssize_t written = real_pwrite(fd, bytes, length, at);
    if (written > 0) keep(fd, bytes, (size_t)written, at, 0);
    return written;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) { return pwrite64(fd, bytes, length, at); }

int ftruncate64(int fd, off_t length) {
    REAL("ftruncate64", int(int, off_t));
    int done = real(fd, length);
    if (!done) keep(fd, NULL, 0, length, 1);
    return done;
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

int fdatasync(int fd) {
    REAL("fdatasync", int(int));
    if (fails(fd)) return -1;
    int done = real(fd);
    if (!done) synced(fd);
    return done;
}

int fsync(int fd) {
    REAL("fsync", int(int));
    if (fails(fd)) return -1;
    int done = real(fd);
    if (!done) synced(fd);
    return done;
}

/* A write-ahead log is removed only after what it held is synced elsewhere, so its twin goes at once. */
int unlink(const char *path) {
    REAL("unlink", int(const char *));
    const char *folder = getenv("FORGETFUL_DIR"), *twins = getenv("FORGETFUL_TWIN");
    int done = real(path);
    if (!done && folder && twins && !strncmp(path, folder, strlen(folder)) && ends_with(path, ".db-wal")) {
        char twin[PATH_MAX];
        snprintf(twin, sizeof twin, "%s%s", twins, strrchr(path, '/'));
        real(twin);
    }
    return done;
}
