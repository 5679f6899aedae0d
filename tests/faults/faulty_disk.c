/* A disk that fails when it is told to, or that writes down all it is asked to do.
 *
 * Loaded with LD_PRELOAD. It stands before the C library's calls that change files and concerns itself with
 * those below one folder, FAULTY_DISK (absolute, and so must be the paths that the process uses), which must
 * be there from the start. `disk_fail` makes the k-th of the calls of some kinds fail; `disk_record` logs
 * each call that succeeded, with its data, in the order in which they took effect. How the log is read is in
 * `disk_images.py`. SQLite's -shm files may fail and are never logged: after a power cut they are made anew.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum kind { OPEN = 1, WRITE = 2, SYNC = 4, NAME = 8, SIZE = 16 };
enum state { FOREIGN = 0, FAILS = 1, LOGGED = 2 };

#define FILES_MAX 65536
#define DIED 9
static unsigned char states[FILES_MAX]; /* by descriptor */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static FILE *record_file;

/* What is to fail: the calls of these kinds from the `first` on, `last` the last of them; 0: none. */
static struct {
    int kinds, error, is_short, is_paused;
    unsigned long first, last, seen, fired;
} fault;

#define REAL(result, name, ...)                                                                                        \
    static result (*real_##name)(__VA_ARGS__);                                                                         \
    if (real_##name == NULL) *(void **)(&real_##name) = dlsym(RTLD_NEXT, #name)

/* The test's side. */

void disk_fail(int kinds, unsigned long first, unsigned long last, int error, int is_short) {
    pthread_mutex_lock(&mutex);
    fault.kinds = kinds;
    fault.first = first;
    fault.last = last;
    fault.error = error;
    fault.is_short = is_short;
    fault.seen = fault.fired = 0;
    fault.is_paused = 0;
    pthread_mutex_unlock(&mutex);
}

void disk_pause(int is_paused) { fault.is_paused = is_paused; }

unsigned long disk_seen(void) { return fault.seen; }

unsigned long disk_fired(void) { return fault.fired; }

/* Write a log, or go on with it, or end it (NULL); 0 when that worked. */
int disk_record(const char *path) {
    int answer = 0;
    pthread_mutex_lock(&mutex);
    if (record_file != NULL) answer = fclose(record_file);
    record_file = path ? fopen(path, "ab") : NULL;
    if (path && record_file == NULL) answer = -1;
    pthread_mutex_unlock(&mutex);
    return answer;
}

struct record {
    uint32_t operation, name_bytes, other_bytes, data_bytes;
    uint64_t file;
    int64_t offset;
};

static void log_call(char operation, const char *name, const char *other, uint64_t file, int64_t offset,
                     const void *data, size_t bytes) {
    struct record record = {(uint32_t)operation, name ? strlen(name) : 0, other ? strlen(other) : 0, bytes, file, offset};
    if (record_file == NULL) return;
    fwrite(&record, sizeof record, 1, record_file);
    if (name) fwrite(name, 1, record.name_bytes, record_file);
    if (other) fwrite(other, 1, record.other_bytes, record_file);
    if (data) fwrite(data, 1, bytes, record_file);
}

/* A line of the test's own in the log, such as what was acknowledged. */
void disk_mark(const char *text) {
    pthread_mutex_lock(&mutex);
    log_call('M', text, NULL, 0, 0, NULL, 0);
    pthread_mutex_unlock(&mutex);
}

/* Which calls are concerned, and which fail. */

static int is_below(const char *path) {
    static const char *folder;
    static size_t length;
    if (folder == NULL) {
        const char *found = getenv("FAULTY_DISK");
        length = found ? strlen(found) : 0;
        folder = found ? found : "";
    }
    return length && strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

static enum state state_of_path(const char *path) {
    size_t length = strlen(path);
    if (!is_below(path)) return FOREIGN;
    return length > 4 && strcmp(path + length - 4, "-shm") == 0 ? FAILS : LOGGED;
}

static enum state state_of(int file) { return file >= 0 && file < FILES_MAX ? states[file] : FOREIGN; }

/* Whether this call is to fail; `*half`: it is to do half its work instead. The mutex is held. */
static int strikes(enum kind kind, int *half) {
    if (fault.first == 0 || fault.is_paused || !(fault.kinds & kind)) return 0;
    fault.seen++;
    if (fault.seen < fault.first || fault.seen > fault.last + fault.is_short) return 0;
    fault.fired++;
    if (half != NULL && fault.is_short && fault.seen == fault.first) {
        *half = 1; /* as a disk does that fills: some, and then nothing */
        return 0;
    }
    if (fault.error < 0) { /* not the call fails but the process */
        if (record_file != NULL) fclose(record_file);
        _exit(DIED);
    }
    errno = fault.error;
    return 1;
}

static uint64_t number_of(int file) {
    struct stat found;
    return fstat(file, &found) == 0 ? found.st_ino : 0;
}

static uint64_t number_at(const char *path) {
    struct stat found;
    return lstat(path, &found) == 0 ? found.st_ino : 0;
}

/* Opening and closing. */

static int opened(const char *path, int flags, mode_t mode, int (*real)(const char *, int, ...)) {
    enum state state = state_of_path(path);
    int file = -1;
    if (state == FOREIGN) return real(path, flags, mode);
    pthread_mutex_lock(&mutex);
    if (!strikes(OPEN, NULL)) {
        int is_new = (flags & O_CREAT) && number_at(path) == 0;
        file = real(path, flags, mode);
        if (file >= 0 && file < FILES_MAX) states[file] = state;
        if (file >= 0 && state == LOGGED && is_new) log_call('C', path, NULL, number_of(file), 0, NULL, 0);
        if (file >= 0 && state == LOGGED && !is_new && (flags & O_TRUNC))
            log_call('T', NULL, NULL, number_of(file), 0, NULL, 0);
    }
    pthread_mutex_unlock(&mutex);
    return file;
}

#define OPENS(name)                                                                                                    \
    int name(const char *path, int flags, ...) {                                                                       \
        REAL(int, name, const char *, int, ...);                                                                       \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;                                        \
        va_end(more);                                                                                                  \
        return opened(path, flags, mode, real_##name);                                                                 \
    }

OPENS(open)
OPENS(open64)

int close(int file) {
    REAL(int, close, int);
    if (file >= 0 && file < FILES_MAX) states[file] = FOREIGN;
    return real_close(file);
}

/* Writing. */

static ssize_t written(int file, const void *data, size_t bytes, off64_t offset) {
    REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
    int half = 0;
    ssize_t done = -1;
    pthread_mutex_lock(&mutex);
    if (!strikes(WRITE, &half)) {
        done = real_pwrite64(file, data, half ? bytes / 2 : bytes, offset);
        if (done > 0 && state_of(file) == LOGGED)
            log_call('W', NULL, NULL, number_of(file), offset, data, (size_t)done);
    }
    pthread_mutex_unlock(&mutex);
    return done;
}

ssize_t pwrite(int file, const void *data, size_t bytes, off_t offset) {
    REAL(ssize_t, pwrite, int, const void *, size_t, off_t);
    return state_of(file) ? written(file, data, bytes, offset) : real_pwrite(file, data, bytes, offset);
}

ssize_t pwrite64(int file, const void *data, size_t bytes, off64_t offset) {
    REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
    return state_of(file) ? written(file, data, bytes, offset) : real_pwrite64(file, data, bytes, offset);
}

ssize_t write(int file, const void *data, size_t bytes) {
    REAL(ssize_t, write, int, const void *, size_t);
    if (!state_of(file)) return real_write(file, data, bytes);
    off64_t offset = lseek64(file, 0, fcntl(file, F_GETFL) & O_APPEND ? SEEK_END : SEEK_CUR);
    ssize_t done = written(file, data, bytes, offset);
    if (done > 0) lseek64(file, done, SEEK_CUR);
    return done;
}

/* Sizes. */

static int resized(int file, off64_t bytes) {
    REAL(int, ftruncate64, int, off64_t);
    int answer = -1;
    pthread_mutex_lock(&mutex);
    if (!strikes(SIZE, NULL)) {
        answer = real_ftruncate64(file, bytes);
        if (answer == 0 && state_of(file) == LOGGED) log_call('T', NULL, NULL, number_of(file), bytes, NULL, 0);
    }
    pthread_mutex_unlock(&mutex);
    return answer;
}

int ftruncate(int file, off_t bytes) {
    REAL(int, ftruncate, int, off_t);
    return state_of(file) ? resized(file, bytes) : real_ftruncate(file, bytes);
}

int ftruncate64(int file, off64_t bytes) {
    REAL(int, ftruncate64, int, off64_t);
    return state_of(file) ? resized(file, bytes) : real_ftruncate64(file, bytes);
}

/* Room is made by growing the file, as far as anybody can see. */
static int grown(int file, off64_t offset, off64_t bytes) {
    struct stat found;
    if (fstat(file, &found) != 0) return -1;
    return found.st_size >= offset + bytes ? 0 : resized(file, offset + bytes);
}

int fallocate64(int file, int mode, off64_t offset, off64_t bytes) {
    REAL(int, fallocate64, int, int, off64_t, off64_t);
    return state_of(file) && mode == 0 ? grown(file, offset, bytes) : real_fallocate64(file, mode, offset, bytes);
}

int posix_fallocate64(int file, off64_t offset, off64_t bytes) {
    REAL(int, posix_fallocate64, int, off64_t, off64_t);
    if (!state_of(file)) return real_posix_fallocate64(file, offset, bytes);
    return grown(file, offset, bytes) == 0 ? 0 : errno;
}

/* Syncing: what was written stays, in the file and in the log, whether or not this says so. */

static int synced(int file, int (*real)(int)) {
    int answer = -1;
    if (!state_of(file)) return real(file);
    pthread_mutex_lock(&mutex);
    if (!strikes(SYNC, NULL)) {
        answer = real(file);
        if (answer == 0 && state_of(file) == LOGGED) log_call('S', NULL, NULL, number_of(file), 0, NULL, 0);
    }
    pthread_mutex_unlock(&mutex);
    return answer;
}

int fsync(int file) {
    REAL(int, fsync, int);
    return synced(file, real_fsync);
}

int fdatasync(int file) {
    REAL(int, fdatasync, int);
    return synced(file, real_fdatasync);
}

/* Names. */

static int renamed(char operation, const char *from, const char *to, int (*real)(const char *, const char *)) {
    int answer = -1;
    if (!is_below(from) && !is_below(to)) return real(from, to);
    pthread_mutex_lock(&mutex);
    if (!strikes(NAME, NULL)) {
        uint64_t number = number_at(from);
        answer = real(from, to);
        if (answer == 0) log_call(operation, from, to, number, 0, NULL, 0);
    }
    pthread_mutex_unlock(&mutex);
    return answer;
}

int rename(const char *from, const char *to) {
    REAL(int, rename, const char *, const char *);
    return renamed('R', from, to, real_rename);
}

int link(const char *from, const char *to) {
    REAL(int, link, const char *, const char *);
    return renamed('L', from, to, real_link);
}

static int removed(const char *path, int (*real)(const char *)) {
    int answer = -1;
    if (!is_below(path)) return real(path);
    pthread_mutex_lock(&mutex);
    if (!strikes(NAME, NULL)) {
        answer = real(path);
        if (answer == 0 && state_of_path(path) == LOGGED) log_call('U', path, NULL, 0, 0, NULL, 0);
    }
    pthread_mutex_unlock(&mutex);
    return answer;
}

int unlink(const char *path) {
    REAL(int, unlink, const char *);
    return removed(path, real_unlink);
}

int rmdir(const char *path) {
    REAL(int, rmdir, const char *);
    return removed(path, real_rmdir);
}

int mkdir(const char *path, mode_t mode) {
    REAL(int, mkdir, const char *, mode_t);
    int answer = -1;
    if (!is_below(path)) return real_mkdir(path, mode);
    pthread_mutex_lock(&mutex);
    if (!strikes(NAME, NULL)) {
        answer = real_mkdir(path, mode);
        if (answer == 0) log_call('D', path, NULL, number_at(path), 0, NULL, 0);
    }
    pthread_mutex_unlock(&mutex);
    return answer;
}
