/* LD_PRELOAD library: adds the microseconds (int64) in the file CLOCK_OFFSET_FILE to the wall clock; the file is mapped, so
   changes apply at once. The other clocks are the system's. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *offset_us;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CLOCK_OFFSET_FILE");
    int file = path ? open(path, O_RDONLY) : -1;
    void *seen = file < 0 ? MAP_FAILED : mmap(0, sizeof *offset_us, PROT_READ, MAP_SHARED, file, 0);
    if (seen != MAP_FAILED) offset_us = seen;
}

int clock_gettime(clockid_t clock, struct timespec *out) {
    int failed = (int)syscall(SYS_clock_gettime, clock, out);
    if (failed || clock != CLOCK_REALTIME || !offset_us) return failed;
    int64_t ns = out->tv_nsec + *offset_us % 1000000 * 1000;
    out->tv_sec += *offset_us / 1000000 + (ns >= 1000000000) - (ns < 0);
    out->tv_nsec = ns >= 1000000000 ? ns - 1000000000 : ns < 0 ? ns + 1000000000 : ns;
    return 0;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone) {
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
    out->tv_sec = now.tv_sec;
    out->tv_usec = now.tv_nsec / 1000;
    return 0;
}
