/* A disk that does not drift: every fsync and fdatasync of the process takes SLOW_SYNC_NS longer.
 *
 * Loaded with LD_PRELOAD over a file system whose syncs cost nothing (tmpfs), so that what a sync costs is
 * set and not found. The delay sleeps: as with a disk, the processor is free for others meanwhile.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

static atomic_ulong syncs;
static _Thread_local int is_prompt;

/* How many syncs were delayed: the benchmark checks that it was really called. */
unsigned long slow_sync_count(void) { return atomic_load(&syncs); }

static void delay(void) {
    const char *text = getenv("SLOW_SYNC_NS");
    long ns = text ? atol(text) : 0;
    if (!is_prompt) {
        /* Threads wake up to 50 us late otherwise. */
        prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
        is_prompt = 1;
    }
    struct timespec left = {ns / 1000000000L, ns % 1000000000L};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR) {
    }
    atomic_fetch_add(&syncs, 1);
}

typedef int (*sync_function)(int);

static int call(const char *name, int file) {
    sync_function real = (sync_function)dlsym(RTLD_NEXT, name);
    if (real == NULL) {
        errno = ENOSYS;
        return -1;
    }
    return real(file);
}

int fsync(int file) {
    delay();
    return call("fsync", file);
}

int fdatasync(int file) {
    delay();
    return call("fdatasync", file);
}
