#define _GNU_SOURCE
#include "cpu.h"

#include <sched.h>
#include <string.h>

struct feature {
    const char *name;
    int present;
};

#if defined(__x86_64__)
#include <cpuid.h>
#include <xmmintrin.h>

static unsigned long xcr0(void)
{
    unsigned low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (unsigned long)high << 32 | low;
}

/* A vector feature counts only when the system saves its registers: XCR0 bits 1-2 for AVX, 5-7 for AVX-512. */
int ev_cpu_has(const char *name)
{
    unsigned a, b, c, d, b7, c7, d7;
    __cpuid(1, a, b, c, d);
    unsigned long saved = c & 1u << 27 ? xcr0() : 0;
    int ymm = (saved & 0x06) == 0x06, zmm = (saved & 0xe6) == 0xe6;
    if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d7))
        b7 = c7 = 0;
    const struct feature known[] = {
        {"fma", ymm && c >> 12 & 1},        {"f16c", ymm && c >> 29 & 1},        {"avx", ymm && c >> 28 & 1},
        {"avx2", ymm && b7 >> 5 & 1},       {"avx512f", zmm && b7 >> 16 & 1},    {"avx512dq", zmm && b7 >> 17 & 1},
        {"avx512bw", zmm && b7 >> 30 & 1},  {"avx512vl", zmm && b7 >> 31 & 1},   {"avx512vbmi", zmm && c7 >> 1 & 1},
        {"avx512_vnni", zmm && c7 >> 11 & 1}, {"avx512_vpopcntdq", zmm && c7 >> 14 & 1},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(name, known[i].name))
            return known[i].present;
    return -1;
}

const char *ev_cpu_arch(void)
{
    return "x86_64";
}

enum { FLUSH_TO_ZERO = 0x8000, DENORMALS_ARE_ZERO = 0x0040 };

unsigned long ev_cpu_flush_denormals(void)
{
    unsigned mode = _mm_getcsr();
    _mm_setcsr(mode | FLUSH_TO_ZERO | DENORMALS_ARE_ZERO);
    return mode;
}

void ev_cpu_restore(unsigned long mode)
{
    _mm_setcsr((unsigned)mode);
}

#elif defined(__aarch64__)
#include <sys/auxv.h>

/* Bits of AT_HWCAP and AT_HWCAP2: Linux, arch/arm64/include/uapi/asm/hwcap.h. */
int ev_cpu_has(const char *name)
{
    unsigned long one = getauxval(AT_HWCAP), two = getauxval(AT_HWCAP2);
    const struct feature known[] = {
        {"fp", one & 1},           {"asimd", one >> 1 & 1}, {"fphp", one >> 9 & 1}, {"asimdhp", one >> 10 & 1},
        {"asimddp", one >> 20 & 1}, {"sve", one >> 22 & 1},  {"i8mm", two >> 13 & 1},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(name, known[i].name))
            return known[i].present;
    return -1;
}

const char *ev_cpu_arch(void)
{
    return "aarch64";
}

enum { FLUSH_TO_ZERO = 1 << 24 };

unsigned long ev_cpu_flush_denormals(void)
{
    unsigned long mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    ev_cpu_restore(mode | FLUSH_TO_ZERO);
    return mode;
}

void ev_cpu_restore(unsigned long mode)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(mode));
}

#elif defined(__arm__)
#include <sys/auxv.h>

/* Bits of AT_HWCAP: Linux, arch/arm/include/uapi/asm/hwcap.h. */
int ev_cpu_has(const char *name)
{
    unsigned long one = getauxval(AT_HWCAP);
    const struct feature known[] = {
        {"neon", one >> 12 & 1}, {"vfpv3", one >> 13 & 1}, {"vfpv4", one >> 16 & 1}, {"idiva", one >> 17 & 1},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(name, known[i].name))
            return known[i].present;
    return -1;
}

const char *ev_cpu_arch(void)
{
    return "armv7";
}

enum { FLUSH_TO_ZERO = 1 << 24 };

unsigned long ev_cpu_flush_denormals(void)
{
    unsigned long mode;
    __asm__ volatile("vmrs %0, fpscr" : "=r"(mode));
    ev_cpu_restore(mode | FLUSH_TO_ZERO);
    return mode;
}

void ev_cpu_restore(unsigned long mode)
{
    __asm__ volatile("vmsr fpscr, %0" : : "r"(mode));
}

#else
#error "the runner knows x86_64, aarch64 and armv7"
#endif

int ev_cpu_count(void)
{
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed))
        return 1;
    int count = CPU_COUNT(&allowed);
    return count > 0 ? count : 1;
}

int ev_cpu_pin(int cpu)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    if (cpu < 0 || cpu >= CPU_SETSIZE)
        return -1;
    CPU_SET((unsigned)cpu, &one);
    return sched_setaffinity(0, sizeof one, &one);
}
