/* What one core of this machine can do at most: multiply-accumulates from registers, and bytes read from a buffer.
 * usage: peak macs | peak read BYTES; prints one number per second, the best of several tries. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#define EIGHT(op) op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7)
#define TWELVE(op) EIGHT(op) op(8) op(9) op(10) op(11)
#define TRIES 30

/* Independent accumulators enough to hide the latency; whatever the registers hold, its value is never used. */
#define RATE(name, body, macs, ...)                                    \
  static void name(const char *label) {                                \
    double best = 1e30;                                                \
    for (int t = 0; t < TRIES; t++) {                                  \
      double start = now();                                            \
      for (long i = 0; i < 200000; i++) __asm__ volatile(body ::: __VA_ARGS__); \
      double took = now() - start;                                     \
      if (took < best) best = took;                                    \
    }                                                                  \
    printf("%s %.6g\n", label, 200000.0 * 12 * (macs) / best);         \
  }

#if defined(__x86_64__)
#define CLOBBER "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11"
#if defined(__AVX512F__)
#define FMA(i) "vfmadd231ps %%zmm12,%%zmm13,%%zmm" #i "\n"
RATE(fp32, TWELVE(FMA), 16, CLOBBER)
#elif defined(__FMA__)
#define FMA(i) "vfmadd231ps %%ymm12,%%ymm13,%%ymm" #i "\n"
RATE(fp32, TWELVE(FMA), 8, CLOBBER)
#endif
#if defined(__AVX512VNNI__)
#define DOT(i) "vpdpbusd %%zmm12,%%zmm13,%%zmm" #i "\n"
RATE(int8, TWELVE(DOT), 64, CLOBBER)
#elif defined(__AVX2__)
/* Without VNNI: bytes widened beforehand, sixteen products of 16 bits summed in pairs, and an addition. */
#define DOT(i) "vpmaddwd %%ymm12,%%ymm13,%%ymm14\nvpaddd %%ymm14,%%ymm" #i ",%%ymm" #i "\n"
RATE(int8, TWELVE(DOT), 16, CLOBBER, "xmm14")
#endif
#elif defined(__aarch64__)
#define CLOBBER "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11"
#define FMA(i) "fmla v" #i ".4s,v12.4s,v13.4s\n"
RATE(fp32, TWELVE(FMA), 4, CLOBBER)
#if defined(__ARM_FEATURE_DOTPROD)
#define DOT(i) "sdot v" #i ".4s,v12.16b,v13.16b\n"
RATE(int8, TWELVE(DOT), 16, CLOBBER)
#else
#define DOT(i) "smlal v" #i ".4s,v12.4h,v13.4h\n"
RATE(int8, TWELVE(DOT), 4, CLOBBER)
#endif
#endif

static int macs(void) {
#if defined(FMA)
  fp32("fp32");
#endif
#if defined(DOT)
  int8("int8");
#endif
  return 0;
}

/* Eight sums at a time, so that loads are what the loop waits for. */
typedef int64_t Lanes __attribute__((vector_size(64)));

static int reading(size_t bytes) {
  size_t count = bytes / (8 * sizeof(Lanes)) * 8;
  Lanes *data;
  if (count < 8) count = 8;
  if (posix_memalign((void **)&data, 64, count * sizeof(Lanes))) return 1;
  memset(data, 1, count * sizeof(Lanes));
  long repeats = (long)(4e7 / (double)(count * sizeof(Lanes))) + 1;
  double best = 1e30;
  volatile int64_t kept = 0;
  for (int t = 0; t < TRIES; t++) {
    double start = now();
    for (long r = 0; r < repeats; r++) {
      Lanes sum[8] = {{0}};
      for (size_t i = 0; i < count; i += 8)
        for (int j = 0; j < 8; j++) sum[j] += data[i + (size_t)j];
      for (int j = 0; j < 8; j++) kept += sum[j][0];
    }
    double took = now() - start;
    if (took < best) best = took;
  }
  printf("read %.6g\n", (double)repeats * (double)(count * sizeof(Lanes)) / best);
  free(data);
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 2 && strcmp(argv[1], "macs") == 0) return macs();
  if (argc == 3 && strcmp(argv[1], "read") == 0) return reading(strtoull(argv[2], NULL, 10));
  fprintf(stderr, "usage: peak macs | peak read BYTES\n");
  return 2;
}
